"""Coded messages: every error names the offending value, where it stands and what to do."""

from __future__ import annotations


class MaralError(ValueError):
    """Bad input, bad configuration or a broken file: something the user can put right."""


class Errors:
    # M0xx: spans, vMF, losses, span model
    M001 = "Span width must be at least 1 word, found max_width={max_width}. Set max_width to 1 or more."
    M002 = "A document cannot have {length} words. Check the lengths given to the span enumeration."
    M003 = (
        "The decision rule '{decision}' does not exist. Choose one of: likelihood, posterior, linear."
    )
    M004 = "{name} must be {rule}, found {value}. Change this setting of the span model."
    # end of M0xx

    # M1xx: data
    # end of M1xx

    # M2xx: architectures and pipeline
    # end of M2xx

    # M3xx: training, configuration, checkpoints
    # end of M3xx

    # M4xx: evaluation, command line, project
    # end of M4xx
    pass


class Warnings:
    # W0xx: spans, vMF, losses, span model
    # end of W0xx

    # W1xx: data
    # end of W1xx

    # W2xx: architectures and pipeline
    # end of W2xx

    # W3xx: training, configuration, checkpoints
    # end of W3xx
    pass
