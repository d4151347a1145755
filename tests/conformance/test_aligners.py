"""The aligners' numeric core against golden/aligners: float64, absolute tolerance 1e-9.

Expected values there are rounded to 12 decimals (a few to 9), so 1e-9 is their precision, not ours.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.best_of_n import best_of
from aligners.changed import REFERENCE_DIFF, changed_spans, token_weights
from aligners.feedback.claims import parse_list_as_released
from aligners.feedback.labeling import Judgement, fully_judged, labeler_question, response_score
from aligners.feedback.pairing import balance_lengths, enumerate_pairs, keep_judged, sample_per_group
from aligners.losses import RewardForm, dpo_loss, implicit_rewards, reward_model_loss, sequence_logps, with_nll
from aligners.presets import RewardSettings
from aligners.reward_model.facts import AnswerKind
from aligners.rl.ppo import gae_advantages, policy_loss, shape_rewards, token_kl, value_loss, whiten
from aligners.rl.rewards import end_penalised, length_share, response_rewards, symbolic_bonus
from aligners.rl.rollouts import cut_after_end, left_pad, non_pad_lengths
from aligners.training.logprobs import IGNORE, entropies, gather_logps, hidden_token_logps, token_logps

TOLERANCE = 1e-9
Cases = dict[str, Any]


def real(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def check(actual: torch.Tensor | float, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(expected, dtype=torch.float64),
        atol=TOLERANCE,
        rtol=0,
    )


def load(golden: Path, name: str) -> Cases:
    cases: Cases = json.loads((golden / "aligners" / f"{name}.json").read_text(encoding="utf-8"))
    assert cases["format"] == f"{name}/1"
    return cases


@pytest.fixture(scope="module")
def weights(golden: Path) -> Cases:
    return load(golden, "ddpo_token_weights")


@pytest.fixture(scope="module")
def dpo(golden: Path) -> Cases:
    return load(golden, "dpo_losses")


@pytest.fixture(scope="module")
def rlaif(golden: Path) -> Cases:
    return load(golden, "rlaifv_pairs")


@pytest.fixture(scope="module")
def ppo(golden: Path) -> Cases:
    return load(golden, "fact_rlhf_ppo")


# --- dense DPO: token weights ---------------------------------------------------------------------------------------


def test_replaced_spans_and_weights_are_the_reference_ones(weights):
    assert weights["cases"]
    for case in weights["cases"]:
        settings = dataclasses.replace(REFERENCE_DIFF, min_match_size=case["min_match_size"])
        spans = changed_spans(case["rejected"], case["chosen"], settings)
        found = [[[s.rejected_start, s.rejected_end], [s.chosen_start, s.chosen_end]] for s in spans]
        assert found == case["replaced_spans"], case["id"]
        assert [i for s in spans for i in s.rejected] == case["rejected_modified"], case["id"]
        assert [i for s in spans for i in s.chosen] == case["chosen_modified"], case["id"]
        both = token_weights(case["rejected"], case["chosen"], case["gamma"], settings)
        assert both == (case["rejected_weights"], case["chosen_weights"]), case["id"]


def test_without_the_popular_token_heuristic_only_the_named_cases_change(weights):
    for case in weights["cases"]:
        settings = dataclasses.replace(REFERENCE_DIFF, min_match_size=case["min_match_size"], autojunk=False)
        spans = changed_spans(case["rejected"], case["chosen"], settings)
        for side in ("rejected", "chosen"):
            key = f"{side}_modified" + ("" if case["same_without_autojunk"] else "_no_autojunk")
            assert [i for s in spans for i in getattr(s, side)] == case[key], case["id"]


# --- DPO ------------------------------------------------------------------------------------------------------------


def test_token_logps_are_shifted_and_masked(dpo):
    assert dpo["token_logps"]
    for case in dpo["token_logps"]:
        logits, labels = real(case["logits"]), torch.tensor(case["labels"])
        for chunk_tokens in (1, 3, 1000):
            logps, mask = token_logps(logits, labels, chunk_tokens=chunk_tokens)
            check(logps, case["per_token_logp"])
            assert mask.int().tolist() == case["mask"]
            check(sequence_logps(logps, mask, average=False), case["sum_logp"])
            check(sequence_logps(logps, mask, average=True), case["mean_logp"])
        check(gather_logps(logits[:, :-1], labels[:, 1:].clamp(min=0)), case["per_token_logp_unmasked"])
        head = torch.eye(logits.shape[-1], dtype=torch.float64)
        hidden, _ = hidden_token_logps(logits, lambda states, w=head: states @ w, labels, chunk_tokens=2)
        check(hidden, case["per_token_logp"])


def test_labels_that_are_already_shifted_lose_their_last_column(dpo):
    for case in dpo["token_logps_preshifted"]:
        targets = torch.tensor(case["labels_preshifted"])[:, :-1]
        logps = gather_logps(real(case["logits"])[:, :-1], targets)
        check(sequence_logps(logps, targets != IGNORE, average=False), case["sum_logp"])
        check(sequence_logps(logps, targets != IGNORE, average=True), case["mean_logp"])


FORMS = {  # golden form: (weighted, average)
    "ddpo_mean": (True, True),
    "ddpo_sum": (True, False),
    "dpo_mean": (False, True),
    "dpo_sum": (False, False),
}


def sequence_logp_of(side: Cases, key: str, weighted: bool, average: bool) -> torch.Tensor:
    logps = side[key] if isinstance(side[key], torch.Tensor) else real(side[key])
    mask = torch.tensor(side["labels"])[:, 1:] != IGNORE
    return sequence_logps(logps, mask, real(side["weights"]) if weighted else None, average=average)


@pytest.mark.parametrize("form", FORMS)
def test_dpo_losses_rewards_and_the_likelihood_term(dpo, form):
    assert dpo["losses"]
    for case in dpo["losses"]:
        expected = case["expected"][form]
        logps = [
            sequence_logp_of(case[side], key, *FORMS[form])
            for key in ("policy_logp", "ref_logp")
            for side in ("chosen", "rejected")
        ]
        names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
        for name, value in zip(names, logps, strict=True):
            check(value, expected[name])
        result = dpo_loss(*logps, beta=case["beta"])
        for name in ("losses", "chosen_rewards", "rejected_rewards", "margins"):
            check(getattr(result, name), expected[name])
        check(with_nll(result.losses, logps[0], 0.0), expected["loss"])
        check(with_nll(result.losses, logps[0], 0.1), expected["loss_with_sft_weight_0p1"])
        check(result.accuracies.mean(), expected["accuracy"])


def test_gradient_of_the_dense_loss_with_respect_to_each_token(dpo):
    for case in dpo["losses"]:
        sides = {}
        for side in ("chosen", "rejected"):
            leaf = real(case[side]["policy_logp"]).requires_grad_()
            sides[side] = {**case[side], "policy_logp": leaf}
        result = dpo_loss(
            sequence_logp_of(sides["chosen"], "policy_logp", True, True),
            sequence_logp_of(sides["rejected"], "policy_logp", True, True),
            sequence_logp_of(sides["chosen"], "ref_logp", True, True),
            sequence_logp_of(sides["rejected"], "ref_logp", True, True),
            case["beta"],
        )
        result.losses.mean().backward()
        for side in ("chosen", "rejected"):
            check(sides[side]["policy_logp"].grad, case["grad_ddpo_mean"][side])


def test_extreme_margins_do_not_overflow(dpo):
    zero = torch.zeros(1, dtype=torch.float64)
    for case in dpo["extreme"]:
        result = dpo_loss(real([case["logit"]]), zero, zero, zero, beta=1.0)
        torch.testing.assert_close(result.losses, real([case["loss"]]), atol=0, rtol=1e-9)


SELF_FEEDBACK = {
    "reward_sum": RewardForm.SUM,
    "reward_mean": RewardForm.MEAN,
    "engine_avg": RewardForm.DATA_ENGINE_MEAN,
    "engine_min": RewardForm.MIN,
    "engine_last": RewardForm.LAST,
}


def padded(rows: list[list[float]], fill: float) -> torch.Tensor:
    width = max(map(len, rows)) + 2
    return real([[*row, *[fill] * (width - len(row))] for row in rows])


def test_implicit_rewards_choose_the_same_candidate(dpo):
    assert dpo["self_feedback"]
    for case in dpo["self_feedback"]:
        rows = case["candidates"]
        aligned = padded([row["aligned_logp"] for row in rows], 7.0)
        reference = padded([row["ref_logp"] for row in rows], -7.0)
        mask = torch.arange(aligned.shape[1]) < torch.tensor([[row["length"]] for row in rows])
        rewards = {
            key: implicit_rewards(aligned, reference, mask, case["beta"], form) for key, form in SELF_FEEDBACK.items()
        }
        for key, values in rewards.items():
            check(values, [row[key] for row in rows])
        assert best_of(rewards["reward_sum"].tolist()) == case["best_by_sum"]
        assert best_of(rewards["reward_mean"].tolist()) == case["best_by_mean"]
        for key, logps in (("best_by_aligned_mean_logp", aligned), ("best_by_ref_mean_logp", reference)):
            assert best_of(sequence_logps(logps, mask, average=True).tolist()) == case[key]


# --- RLAIF-V --------------------------------------------------------------------------------------------------------


def judgement(row: Cases) -> Judgement:
    scores = row["scores"]
    return Judgement(row["raw_question"], scores["yes"] + scores["Yes"], scores["no"] + scores["No"])


def as_ids(scoring: Cases, pairs: Any) -> list[tuple[Any, Any, Any]]:
    rows = scoring["responses"]
    return sorted(
        (rows[p.chosen]["ds_question_id"], rows[p.chosen]["question_id"], rows[p.rejected]["question_id"])
        for p in pairs
    )


def expected_ids(rows: list[Cases]) -> list[tuple[Any, Any, Any]]:
    return sorted((row["ds_question_id"], row["chosen"], row["rejected"]) for row in rows)


def test_claims_become_labels_scores_and_pairs(rlaif):
    scoring = rlaif["scoring"]
    claims = [judgement(row) for row in scoring["claim_rows"]]
    assert [int(j.confirms()) for j in claims] == scoring["labels"]

    responses = scoring["responses"]
    judged = {row["question_id"]: [] for row in responses}
    for row, claim in zip(scoring["claim_rows"], claims, strict=True):
        judged[row["question_id"]].append(claim)
    asked = [[labeler_question(q) for q in row["changed_facts"]] for row in responses]
    assert [[j.question for j in judged[row["question_id"]]] for row in responses] == asked

    scores = [response_score(judged[row["question_id"]]) for row in responses]
    found = {str(row["question_id"]): score for row, score in zip(responses, scores, strict=True)}
    assert {key: score for key, score in found.items() if score is not None} == scoring["response_scores"]

    groups = [(row["ds_question_id"], row["raw_question"]) for row in responses]
    pairs = enumerate_pairs(scores, groups, min_gap=1)
    assert as_ids(scoring, pairs) == expected_ids(scoring["candidate_pairs"])

    complete = [fully_judged(row["facts"], judged[row["question_id"]]) for row in responses]
    kept = keep_judged(pairs, complete)
    dropped = [pair for pair in pairs if pair not in kept]
    assert as_ids(scoring, kept) == expected_ids(scoring["pairs_after_claim_count_check"])
    assert as_ids(scoring, dropped) == expected_ids(scoring["dropped_by_claim_count_check"])

    images = [row["ds_question_id"] for row in responses]
    sampled = sample_per_group(kept, images, limit=scoring["max_pairs_per_instruction"], seed=0)
    assert Counter(images[p.chosen] for p in sampled) == scoring["pairs_per_ds_after_sampling"]
    assert set(sampled) <= set(kept)


def test_length_balance(rlaif):
    assert rlaif["length_balance"]
    for case in rlaif["length_balance"]:
        words = case["word_counts"]
        result = balance_lengths(
            [w["chosen"] for w in words], [w["rejected"] for w in words], [w["identical_text"] for w in words]
        )
        assert result.kept == case["kept_indices"], case["id"]
        check(result.ratio, case["best_ratio"])
        check(result.relative_gap, case["relative_length_gap"])
        check(result.mean_chosen, case["mean_chosen"])
        check(result.mean_rejected, case["mean_rejected"])


def test_claim_lists_are_read_as_released(rlaif):
    for case in rlaif["claim_parsing"]:
        assert parse_list_as_released(case["raw"]) == case["facts"]


# --- LLaVA-RLHF -----------------------------------------------------------------------------------------------------


def test_whitening(ppo):
    for case in ppo["whiten"]:
        values = real(case["values"])
        check(whiten(values), case["shift_mean_true"])
        check(whiten(values, shift_mean=False), case["shift_mean_false"])
        check(whiten(values, per_row=True), case["per_row_shift_mean_true"])


KL = {"k1": "k1-clamped", "k3": "k3"}


def test_reward_shaping(ppo):
    assert ppo["reward_shaping"]
    for case in ppo["reward_shaping"]:
        relative = RewardSettings(
            case["penalty_reward_value"],
            True,
            case["length_bonus_score"],
            case["correct_bonus_score"],
            case["reward_bias"],
        )
        absolute = dataclasses.replace(relative, relative=False)
        scores, ended = real(case["reward_model_scores"]), torch.tensor(case["has_stop_token"])
        check(end_penalised(scores, ended, relative), case["rewards_relative_stop_penalty"])
        check(end_penalised(scores, ended, absolute), case["rewards_absolute_stop_penalty"])
        share = length_share(
            real(case["response_lengths"]), case["response_len"], real(case["length_bonus_multiplier"])
        )
        check(share, case["length_bonus"])
        kl = token_kl(real(case["logprobs"]), real(case["ref_logprobs"]), KL[case["kl_approximator"]])
        check(kl, case["kl"])
        check(-case["kl_coef"] * kl, case["non_score_rewards"])
        total = response_rewards(scores, ended, share, real(case["correct_bonus"]), relative).total
        check(shape_rewards(total, kl, case["kl_coef"]), case["shaped_rewards"])


def test_gae_and_returns(ppo):
    for case in ppo["gae"]:
        result = gae_advantages(
            real(case["rewards"]),
            real(case["values"]),
            gamma=case["gamma"],
            lam=case["lam"],
            reward_scale=case["reward_scale_when_not_whitened"],
            whiten_rewards=case["whiten_rewards"],
        )
        check(result.raw_advantages, case["raw_advantages"])
        check(result.returns, case["returns"])
        check(result.advantages, case["advantages"])


def test_clipped_losses_and_their_gradients(ppo):
    for case in ppo["losses"]:
        logps, values = real(case["new_logprobs"]).requires_grad_(), real(case["new_values"]).requires_grad_()
        policy = policy_loss(logps, real(case["old_logprobs"]), real(case["advantages"]), case["cliprange"])
        value = value_loss(values, real(case["old_values"]), real(case["returns"]), case["cliprange_value"])
        check(policy.loss, case["policy_loss"])
        check(policy.clip_fraction, case["policy_clipfrac"])
        check(policy.approximate_kl, case["approx_kl"])
        check(value.loss, case["value_loss_unscaled"])
        check(case["vf_coef"] * value.loss, case["value_loss"])
        check(value.clip_fraction, case["value_clipfrac"])
        (policy.loss + case["vf_coef"] * value.loss).backward()
        check(logps.grad, case["grad_policy"])
        check(values.grad, case["grad_value"])


def test_response_logprobs_at_a_temperature(ppo):
    for case in ppo["response_logprobs"]:
        logits, labels = real(case["logits"]), torch.tensor(case["labels"])
        targets = labels.masked_fill(labels == case["pad_id"], IGNORE)
        check(gather_logps(logits, targets, case["temperature"]), case["logprobs"])
        check(entropies(logits, case["temperature"]), case["entropies"])


def test_truncation_and_left_padding(ppo):
    case = ppo["truncation"]
    cut = cut_after_end(torch.tensor(case["sequences"]), case["eos_id"], case["pad_id"], case["question_mark_ids"])
    assert cut.ids.tolist() == case["truncated"]
    assert cut.has_end.int().tolist() == case["has_stop_token"]
    assert non_pad_lengths(cut.ids, case["pad_id"]).tolist() == case["non_pad_length"]
    case = ppo["left_pad"]
    assert left_pad(torch.tensor(case["sequences"]), case["pad_id"]).tolist() == case["left_padded"]


def test_reward_model_loss(ppo):
    for case in ppo["reward_model"]:
        result = reward_model_loss(real(case["rewards"]), torch.tensor(case["choice"]))
        check(result.pairwise, case["bce"])
        check(result.loss - result.pairwise, case["regulariser"])
        check(result.loss, case["loss"])
        check(result.accuracy, case["accuracy"])


def test_symbolic_bonus(ppo):
    table = ppo["symbolic_bonus"]
    assert {kind.name: kind.value for kind in AnswerKind} == table["caption_types"]
    for case in table["cases"]:
        assert symbolic_bonus(AnswerKind(case["caption_type"]), case["response"]) == case["bonus"], case
