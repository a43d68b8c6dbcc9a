"""Random streams: the only place that draws random numbers for trials.

Every trial owns one counter-based stream (Philox, Salmon et al., SC11, doi 10.1145/2063384.2063405) whose key is a hash
of what the trial is, so its noise does not depend on batch, shard, order or device.
"""

import hashlib

import numpy as np


def stream(seed: int, key: str, trial: int, purpose: str) -> np.random.Generator:
    """Open the random stream of one trial.

    Args:
        seed: the run's seed from the configuration.
        key: what is sampled: the hash of cell, host, element and number of sites.
        trial: trial number; negative numbers are the controls.
        purpose: what the numbers are for, so that two uses in one trial are independent.

    Returns:
        A generator that yields the same numbers on every machine and in any order of trials.
    """
    text = "\x1f".join((str(int(seed)), key, str(int(trial)), purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
