"""Compile the NequIP package that relaxes, for this machine's device."""

from hinpaint.relaxation.compiling import compile_potential
from hinpaint.scripting import parse_arguments, plain_errors

arguments, config = parse_arguments(__doc__, files=("folder",), compute=True)
with plain_errors():
    compile_potential(config.potential, arguments.folder, arguments.device, arguments.threads)
