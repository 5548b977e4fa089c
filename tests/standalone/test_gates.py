"""Gates that are written on a command line say what they mean, or what would work."""

from __future__ import annotations

import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.project.gates import AtLeast, AtMost, EverySlice, Gate, Improves, NonInferior
from sterling.standalone.gates import parse_gate


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("roc_auc>=0.7", AtLeast("roc_auc", 0.7)),
        ("ece <= 5e-2", AtMost("ece", 0.05)),
        ("roc_auc>champion", Improves("roc_auc", over="champion")),
        ("roc_auc > champion + 0.005", Improves("roc_auc", over="champion", by=0.005)),
        ("log_loss<champion-0.005", Improves("log_loss", over="champion", by=0.005)),
        ("roc_auc>=champion-0.005", NonInferior("roc_auc", margin=0.005)),
        ("log_loss<=champion+0.005", NonInferior("log_loss", margin=0.005)),
        ("roc_auc>=0.6 by carrier, origin airport", EverySlice("roc_auc", ("carrier", "origin airport"), 0.6, 100)),
    ],
)
def test_a_gate_is_read_from_its_text(text: str, gate: Gate) -> None:
    assert parse_gate(text, min_rows=100) == gate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roc_auc=>0.7", "is no gate. Examples: 'roc_auc>=0.7'"),
        ("auc>=0.7", "there is no metric 'auc'. Known: roc_auc"),
        ("roc_auc>0.7", "a gate on a number is >= or <="),
        ("roc_auc<champion", "roc_auc is better towards >"),
        ("roc_auc>champion-0.1", "allows a loss: write >= and not >"),
        ("roc_auc>=champion", "needs a margin that may be lost"),
        ("roc_auc>=champion+0.1", "needs a margin that may be lost"),
        ("ece>=0.1 by carrier", "a gate of every slice is a limit on the worse side"),
        ("roc_auc>=1e", "'1e' is no number"),
        ("", "is no gate"),
    ],
)
def test_a_text_that_cannot_be_meant_is_refused_with_what_would_work(text: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError) as raised:
        parse_gate(text)
    assert said in str(raised.value)
