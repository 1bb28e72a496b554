import numpy as np
import pytest
import torch

from spacy_maral.model.encoder.batches import LIKE_LENGTH, filled, group_rows, row_lengths

LENGTHS = np.random.default_rng(0).integers(1, 60, 200)


@pytest.mark.parametrize("least, most", [(1, 10_000), (60, 10_000), (1, 40), (10_000, 10_000)])
def test_groups_of_like_length_have_all_rows_and_keep_to_the_bounds(least, most):
    order = np.argsort(-LENGTHS, kind="stable")
    groups = group_rows(order, LENGTHS, most=most, least=least)
    np.testing.assert_array_equal(np.concatenate(groups), order)
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        longest = LENGTHS[group].max()
        assert len(group) * longest <= most or len(group) == 1
        if following is not None:
            # closed because the next is shorter once there is enough in it, or full
            full = longest * (len(group) + 1) > most
            shorter = LENGTHS[following[0]] < LIKE_LENGTH * longest
            assert full or (shorter and len(group) * longest >= least)


@pytest.mark.parametrize("most, max_items", [(100, 0), (100, 3), (1, 0), (10_000, 7)])
def test_groups_of_items_with_several_rows_are_as_large_as_the_bounds_let_them(most, max_items):
    rng = np.random.default_rng(1)
    order, rows = rng.permutation(200), rng.integers(1, 4, 200)
    groups = group_rows(order, LENGTHS, rows, most=most, max_items=max_items)
    np.testing.assert_array_equal(np.concatenate(groups), order)

    def size(items):
        return LENGTHS[items].max() * rows[items].sum()

    for group, following in zip(groups, [*groups[1:], None], strict=True):
        assert size(group) <= most or len(group) == 1
        assert not max_items or len(group) <= max_items
        if following is not None:
            grown = np.append(group, following[0])
            assert size(grown) > most or len(group) == max_items


def test_nothing_makes_no_groups():
    assert group_rows(np.zeros(0, dtype=int), LENGTHS, most=9) == []


def test_lengths_of_rows_are_told_from_padding_at_the_end_only():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    assert row_lengths(mask).tolist() == [2, 1, 3]
    assert row_lengths(mask.flip(1)).tolist() == [3, 3, 3]


def test_shorter_outputs_are_filled_up_with_zeros():
    states, attentions = torch.ones(2, 3, 4), torch.ones(2, 5, 3, 3)
    assert filled(states, 6).shape == (2, 6, 4)
    assert filled(attentions, 6).shape == (2, 5, 6, 6)
    assert filled(states, 6).sum() == states.sum()
    assert filled(attentions, 6)[..., :3, :3].equal(attentions)
    assert filled(torch.ones(2, 4), 6).shape == (2, 4)
