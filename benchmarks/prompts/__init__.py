"""This project's own judge prompts, used where the authors' pinned script is not at hand.

object_halbench_extractor.txt  lists the objects a response names; slots {question} and {answer}
mmhal_judge.txt                rates a response 0-6; four positional slots: labels, question, human answer, response
"""
