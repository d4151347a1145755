"""The miniature world's model and its alignment: the embedded default that runs everywhere in minutes.

base    trains the tiny LLaVA (`model`) on what `lessons` say, and measures it (`quality`)
ddpo, rlaif, rlhf    the three methods with data made of drawn scenes; `claims` are what the labelers judge
facts   what written facts add to a reward model
"""
