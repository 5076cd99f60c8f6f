"""The conformance kit: what every encoder, estimator, generator, reader, sampler, network and sequence model must do, as checks.

    from mumei.testing import check_encoder
    check_encoder(lambda: MyEncoder(), ["one text", "another", "a third"])

A failure is an `AssertionError` with a sentence that names the check and the object. `run_registered(name)` runs the
checks that a registry entry's tags ask for; a test parametrised over `registry.entries()` covers all of it.
"""

from mumei.testing.encoders import check_encoder
from mumei.testing.estimators import check_estimator
from mumei.testing.generators import check_generator
from mumei.testing.readers import check_reader
from mumei.testing.registered import checks_for, run_registered
from mumei.testing.samplers import check_sampler
from mumei.testing.sequence_models import check_artifact, check_sequence_model
from mumei.testing.training import check_network, check_resume

__all__ = [
    "check_artifact",
    "check_encoder",
    "check_estimator",
    "check_generator",
    "check_network",
    "check_reader",
    "check_resume",
    "check_sampler",
    "check_sequence_model",
    "checks_for",
    "run_registered",
]
