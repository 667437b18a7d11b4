"""How far a memory is trusted, learned while a text is read.

On some texts, such as a table of random numbers, what was counted says nothing, and a gate that was fitted
on other texts believes it all the same. So two predictors stand side by side: the network alone, and network
and memory. Each has a share, which is multiplied by the probability that it gave to the character that came.
A little of it is then handed to the other, so that neither is lost. This is the fixed share of Herbster and
Warmuth (1998), "Tracking the best expert". Beyond the better of the two it costs at most ln 2 nats over a
whole text, and -ln(1 - SWITCHING) a character.
"""

import math

import numpy as np

SWITCHING = 1e-4  # of a share, that is handed over after every character


def trusted_surprises(alone: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Return the surprise of each character under the two predictors, weighed by what they did before, [P].

    Args:
        alone: [P], nats, of the network alone, in the order of the text.
        mixed: [P], nats, of network and memory.
    """
    of_alone, of_mixed = (np.exp(-surprises.astype(np.float64)).tolist() for surprises in (alone, mixed))
    share, found = 0.5, np.empty(len(alone), np.float32)
    for place, (first, second) in enumerate(zip(of_alone, of_mixed, strict=True)):
        both = max(share * first + (1 - share) * second, 1e-300)
        found[place] = -math.log(both)
        share = SWITCHING + (1 - 2 * SWITCHING) * (share * first / both)
    return found
