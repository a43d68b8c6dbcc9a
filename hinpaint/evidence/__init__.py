"""What a record says about its sites of the target element: how many are missing, on what evidence, how sure.

Counting follows one rule: sites missing = sites the formula asks for (formula x Z) - sites present. Everything else a
record says (attached hydrogens, dummy sites, labels such as ``Wat``, charges, bond valences) confirms that number,
replaces it where there is no formula, or contradicts it; a contradiction is never averaged away.
"""

from hinpaint.codes import CODE_EXPLANATIONS, Code
from hinpaint.evidence.model import Evidence, choose_mode
from hinpaint.evidence.weighing import weigh

__all__ = ["CODE_EXPLANATIONS", "Code", "Evidence", "choose_mode", "weigh"]
