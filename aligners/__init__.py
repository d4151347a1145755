"""Alignment methods. `ALIGNERS` names what `evalkit align METHOD` calls; it is imported when it is asked for."""

ALIGNERS = {
    "ddpo": "aligners.ddpo:align_ddpo",
    "rlaif": "aligners.rlaif:align_rlaif",
    "fact-rlhf": "aligners.fact_rlhf:align_fact_rlhf",
}
