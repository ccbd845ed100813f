"""From the Gram matrix and the success counts of N probe prompts to the conflict of pass@k with pass@1, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

from .agreement import AgreementShift, agreement_shift
from .alarm import Alarm, alarms
from .bounds import k_star_bound
from .easy_hard import DELTAS_1, DELTAS_2, FilteredConflict, conflict_of_filtered, easy_and_hard
from .forecasting import Forecast, forecast
from .in_words import NO_PAIRS, PASS1_IS_LOST, cosine_in_words, known_cosine, verdict
from .interference_report import InterferenceReport
from .measuring import measure_interference, measure_objectives
from .objective_report import ObjectiveReport
from .probe_size import required_probe_size
from .sample import ProbeSample


__all__ = [
    "DELTAS_1",
    "DELTAS_2",
    "NO_PAIRS",
    "PASS1_IS_LOST",
    "AgreementShift",
    "Alarm",
    "FilteredConflict",
    "Forecast",
    "InterferenceReport",
    "ObjectiveReport",
    "ProbeSample",
    "agreement_shift",
    "alarms",
    "conflict_of_filtered",
    "cosine_in_words",
    "easy_and_hard",
    "forecast",
    "k_star_bound",
    "known_cosine",
    "measure_interference",
    "measure_objectives",
    "required_probe_size",
    "verdict",
]
