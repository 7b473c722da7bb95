"""Greedy answers do not depend on the batch they were made in."""

from lib import generate, materials


def test_batch_size_and_order_change_nothing(load):
    prompts = [p.prompt for p in materials.prompts("train", "helpful")][:9]
    one = generate.answers(load(), prompts, 12, 1)
    many = generate.answers(load(), prompts, 12, 9)
    turned = generate.answers(load(), prompts[::-1], 12, 4)[::-1]
    assert one == many == turned
    assert len({a.text for a in one}) > 1


def test_whole_sentences():
    assert generate.whole_sentences('Yes. He said "no." And then he') == 'Yes. He said "no."'
    assert generate.whole_sentences("no end at all") == ""
