"""Masked language modelling of text, in addition to the span losses (Eq. 51)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from ..errors import Errors, MaralError
from ..model.architectures import get_encoder
from ..model.encoder.files import loading_encoder, read_encoder_config
from ..model.encoder.layers import input_embeddings
from .corpus import Batch
from .network import Network
from .pipelines import Pipeline
from .settings import MaskedText


def encoder_name(pipeline: Pipeline) -> str:
    """Name or folder of the pretrained encoder."""
    return pipeline.nlp.get_pipe("transformer").model.attrs["name"]  # type: ignore[attr-defined]


def check_head(pipeline: Pipeline, settings: MaskedText) -> None:
    """Refuse masked language modelling with an encoder that has no head for it.

    RAISES (MaralError): If the loss has a weight, and the encoder has no pretrained LM head, or a
        head with another vocabulary.
    """
    if not settings.mlm_weight:
        return
    _, tokenizer, _ = get_encoder(pipeline.nlp)
    name = encoder_name(pipeline)
    with loading_encoder(name):
        config = read_encoder_config(name, trust_remote_code=False)
    architectures = config.architectures or []
    if not any(a.endswith("ForMaskedLM") for a in architectures) or tokenizer.mask_token_id is None:
        raise MaralError(Errors.M318.format(encoder=name, architectures=", ".join(architectures)))
    rows = len(cast(Any, input_embeddings(pipeline.network.encoder)).weight)
    if rows != config.vocab_size:
        raise MaralError(Errors.M462.format(rows=rows, encoder=name, scores=config.vocab_size))


def masked_lm(pipeline: Pipeline, settings: MaskedText, stream: str = "target") -> MaskedLM | None:
    """Make the masked-language-model loss on the text of a stream; None if its weight is 0.

    The encoder must have a head for it (see `check_head`), which is trained too.
    """
    if not settings.mlm_weight:
        return None
    _, tokenizer, _ = get_encoder(pipeline.nlp)
    name = encoder_name(pipeline)
    with loading_encoder(name):
        full = AutoModelForMaskedLM.from_pretrained(name, trust_remote_code=False)
    head = getattr(full, "lm_head", getattr(full, "cls", None))
    if head is None:
        raise MaralError(Errors.M334.format(encoder=name, family=full.config.model_type))
    full.get_output_embeddings().weight = input_embeddings(pipeline.network.encoder).weight
    return MaskedLM(
        head.to(pipeline.network.device),
        settings.mlm_weight,
        tokenizer.mask_token_id,
        tokenizer.all_special_ids,
        settings.mask_rate,
        stream,
    )


@dataclass
class MaskedLM:
    """Masked-language-model loss (Eq. 51) on the rows of a batch.

    head (nn.Module): The encoder's LM head, from hidden states to logits over the vocabulary.
    weight (float): Factor on the loss. mask_id (int): The mask piece. special_ids: Pieces that are never masked.
    mask_rate (float): Share of the pieces that are masked. The pieces are drawn from torch's CPU
        generator, which the loop seeds for each step, so that a resumed run draws the same.
    """

    head: nn.Module
    weight: float
    mask_id: int
    special_ids: list[int]
    mask_rate: float
    stream: str = "target"

    def __call__(self, network: Network, batch: Batch) -> tuple[Tensor, int]:
        """RETURNS (tuple): Sum of the masked pieces' losses, and their number."""
        ids = torch.from_numpy(batch.input_ids)
        maskable = ~torch.isin(ids, torch.tensor(self.special_ids))
        chosen = maskable & (torch.rand(ids.shape) < self.mask_rate)
        masked = ids.masked_fill(chosen, self.mask_id).to(network.device)
        with network.autocast():
            states = network.encode(masked, network.tensor(batch.attention_mask))
            logits = self.head(states[chosen.to(network.device)])
        if not len(logits):
            return states.sum() * 0, 0
        wanted = ids[chosen].to(network.device)
        loss = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
        return loss, len(wanted)
