"""What the sites add, against the papers' formulas written out."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from fedretune.adaptors import AdaptorSpec, build
from fedretune.methods.method import Visit
from fedretune.objectives.difference import logits_of
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.strategies import STRATEGIES, part_of
from fedretune.strategies.part import Round
from fedretune.strategies.qfedavg import LOSS, RECORD, QFedAvg
from fedretune.training import TrainingSettings, train
from fedretune.wire import WireError, check, train_schema
from tests.strategies.folding import parameters_of

N, DIM, FINDINGS = 40, 6, ("Mass", "Edema", "Hernia")
SPEC = AdaptorSpec("linear", "double", DIM, True, "learnable", len(FINDINGS))


@pytest.fixture
def begun():
    """A round at a site whose images have every kind of label, and a finding without positives."""
    generator = torch.Generator().manual_seed(3)
    prompts = torch.randn(2, len(FINDINGS), 4, DIM, generator=generator)
    labels = (torch.rand(N, len(FINDINGS), generator=generator) < 0.3).float()
    labels[:, 2], labels[:7, 0] = 0.0, torch.nan
    visit = Visit(
        build(SPEC, seed=1),
        torch.randn(N, DIM, generator=generator),
        labels,
        ~labels.isnan(),
        PromptEmbeddings(prompts[0], prompts[1], FINDINGS),
        "mean",
        0,
        0,
    )
    return Round(visit, TrainingSettings(batch_size=N, epochs=1), {}, {})


def result_of(begun, turn, **settings):
    visit = begun.visit
    chosen = TrainingSettings(batch_size=N, epochs=1, **settings)
    return train(
        visit.model, visit.images, visit.labels, visit.prompts, chosen, 0, list(turn.terms)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_site_adds_is_what_the_wire_lets_out_and_makes_sense(begun, strategy):
    part = part_of(strategy, parameters_of(strategy))
    turn = part.begin(begun)
    added = turn.finish(begun.visit.model, result_of(begun, turn))
    schema = train_schema(SPEC, added=part.adds(SPEC))
    arrays = {name: added.arrays[name] for name in part.adds(SPEC).arrays}
    position = {"experience": 0, "round": 0, "num-examples": N, "loss": 0.1}
    tensors = {k: np.zeros(shape, dtype) for k, (shape, dtype) in SPEC.tensors().items()}
    check(schema, {"adaptor": tensors, **arrays}, {"metrics": position, **added.scalars})
    part.check(added.arrays, added.scalars, range(1, 2))


def test_the_proximal_term_is_half_of_mu_times_the_square_of_the_way(begun):
    (pull,) = part_of("fedprox", parameters_of("fedprox", mu=0.6)).begin(begun).terms
    rows, logits = torch.arange(N), torch.zeros(N, len(FINDINGS))
    assert pull(rows, logits).item() == 0.0
    square = 0.0
    with torch.no_grad():
        for each in begun.visit.model.parameters():
            step = torch.randn(each.shape)
            square += float(step.square().sum())
            each += step
    assert pull(rows, logits).item() == pytest.approx(0.3 * square, rel=1e-5)
    pull(rows, logits).backward()
    assert all(each.grad is not None for each in begun.visit.model.parameters())


def test_without_mu_there_is_no_term(begun):
    assert not part_of("fedprox", parameters_of("fedprox", mu=0.0)).begin(begun).terms


@pytest.mark.parametrize("balance", ["none", "full"])
def test_the_loss_that_a_site_tells_is_that_of_the_adaptor_that_came(begun, balance):
    begun = Round(begun.visit, TrainingSettings(balance=balance), {}, {})
    visit = begun.visit
    with torch.no_grad():
        logits = logits_of(visit.model, visit.images, visit.prompts, "mean")
    turn = QFedAvg({}).begin(begun)
    told = turn.finish(visit.model, result_of(begun, turn, lr=0.5)).scalars[RECORD][LOSS]
    weights = torch.ones(len(FINDINGS))
    if balance == "full":
        positives, negatives = (visit.labels == 1).sum(0), (visit.labels == 0).sum(0)
        weights[:2] = (negatives / positives)[:2]
    known = ~visit.labels.isnan()
    each = binary_cross_entropy_with_logits(
        logits, visit.labels.nan_to_num(), pos_weight=weights, reduction="none"
    )
    assert told == pytest.approx(float(each[known].mean()), rel=1e-5)


def test_a_masked_finding_is_no_part_of_that_loss(begun):
    told = {}
    for one_class in ("train", "mask"):
        masked = Round(begun.visit, TrainingSettings(one_class=one_class), {}, {})
        turn = QFedAvg({}).begin(masked)
        told[one_class] = turn.finish(begun.visit.model, None).scalars[RECORD][LOSS]
    assert told["mask"] != told["train"]


def test_a_negative_loss_makes_no_sense():
    with pytest.raises(WireError, match="global-loss is -1"):
        QFedAvg({}).check({}, {RECORD: {LOSS: -1.0}}, range(1, 2))
