"""The classifier of free-text replies, against its labelled rows and against plain cases."""

from collections import Counter

import pytest
from ethical_personas.paths import DATA
from ethical_personas.persona import stance
from ethical_personas.study import materials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I agree. Duty comes first.", "agree"),
        ("Yes, that is how it should be.", "agree"),
        ("I would argue that I do agree with you.", "agree"),
        ("I do not agree with this.", "disagree"),
        ("I don’t agree.", "disagree"),
        ("I can't agree to that, you gave your word.", "disagree"),
        ("No. You owe it to them.", "disagree"),
        ("That is wrong, since nobody asked them.", "disagree"),
        ("I'm not going to agree with your friend.", "disagree"),
        ("I'm not sure I agree.", "disagree"),
        ("It depends.", "ambiguous"),
        ("I agree in part, but I also disagree.", "ambiguous"),
        ("Do you agree or disagree with this statement?", "ambiguous"),
        ("I will not give a reason to agree or disagree.", "ambiguous"),
        ("No, I'm not sure. What do you mean?", "ambiguous"),
        ("Yes and no.", "ambiguous"),
        ("", "ambiguous"),
    ],
)
def test_plain_cases(text, expected):
    assert stance.classify(text) == expected


def test_case_and_spacing_do_not_matter():
    assert stance.classify("  I\nAGREE with\tyou. ") == "agree"


def test_labelled_rows_are_enough_and_belong_to_the_instrument():
    data = stance.labelled()
    assert len(data) >= 200 and {r.item for r in data} <= {i.id for i in materials.items()}
    assert min(Counter(r.stance for r in data).values()) >= 80
    assert sum(r.split == "test" for r in data) >= 40
    texts = Counter(r.text for r in data if r.split == "test")
    assert not set(texts) & {r.text for r in data if r.split == "develop"}


def test_accuracy_on_rows_that_took_no_part():
    """High on the source's replies; on tuned models' it is what the data card owns up to, and no worse."""
    table = stance.accuracy().set_index(["split", "origin"])
    assert table.loc[("test", "source"), "accuracy"] > 0.8
    assert ((table["low"] < table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    tuned = table.loc[("test", "tuned")]
    assert table.drop(("test", "tuned"))["kappa"].min() > 0.5
    card = (DATA / "persona" / "README.md").read_text(encoding="utf-8")
    shown = (
        f"**{tuned['accuracy']:.2f}** [{tuned['low']:.2f}, {tuned['high']:.2f}] (kappa {tuned['kappa']:.2f}) on tuned"
    )
    assert shown in " ".join(card.split())
