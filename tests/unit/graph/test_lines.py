"""Which packs serve, and from which cosine each of them decides."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from serving.app import deployment_name
from serving.deployments.defaults import FURTHER_LINE
from serving.errors import ConfigurationError, PackError, PackMismatch
from serving.graph.lines import Lines, configured_threshold
from serving.graph.tuning import BatchTuning, read_tuning
from serving.packs.calibration import load_calibration
from serving.packs.catalogue import find_pack
from serving.packs.configured import find_served_packs
from serving.settings import RecognitionSettings, load_settings
from tests.unit.served import serve


def test_the_line_of_a_pack() -> None:
    first, second = serve(None, "first"), serve(None, "second")
    lines = Lines([first, second])
    assert (lines.of(None), lines.of("second"), lines.find("gone")) == (first, second, None)
    assert (list(lines), len(lines), "second" in lines) == ([first, second], 2, True)
    with pytest.raises(PackMismatch) as raised:
        lines.of("gone")
    assert raised.value.context == {"pack_id": "gone", "serving": ["first", "second"]}


def test_a_cosine_counts_for_the_default_pack_and_a_rate_for_all() -> None:
    calibration = load_calibration(find_pack("starter"))
    cosine, rate = RecognitionSettings(threshold=0.9), RecognitionSettings(false_match_rate=1e-3)
    assert configured_threshold(cosine, calibration, is_default=True) == 0.9
    assert configured_threshold(cosine, calibration, is_default=False) is None
    for is_default in (True, False):
        found = configured_threshold(rate, calibration, is_default=is_default)
        assert found == calibration.threshold_for(1e-3)
        assert configured_threshold(RecognitionSettings(), calibration, is_default=is_default) is None
    with pytest.raises(ConfigurationError, match="supports none below"):
        configured_threshold(RecognitionSettings(false_match_rate=1e-12), calibration, is_default=True)
    with pytest.raises(ValidationError, match="not both"):
        RecognitionSettings(threshold=0.9, false_match_rate=1e-3)


def test_packs_that_serve_are_named_once() -> None:
    settings = load_settings({"pack": {"name": "starter", "also": ["starter-fp32", "starter-int8"]}})
    ids = [pack.id for pack in find_served_packs(settings)]
    assert ids == [find_pack("starter").id, "starter-fp32", "starter-int8"]
    with pytest.raises(ConfigurationError, match="serves already"):
        find_served_packs(load_settings({"pack": {"also": [ids[0]]}}))
    with pytest.raises(PackError):
        find_served_packs(load_settings({"pack": {"also": ["no-such-pack"]}}))


def test_boxes_of_further_packs_have_names_and_numbers_that_serve_takes() -> None:
    from ray import serve as ray_serve
    from ray.serve.config import AutoscalingConfig

    for kind, options in FURTHER_LINE.items():
        deployment = ray_serve.deployment(type(kind, (), {}))
        name = deployment_name(kind, "buffalo_sc-int8.v1")
        assert deployment.options(name=name, **options).name == name
        assert AutoscalingConfig(**options["autoscaling_config"]).max_replicas >= 1
        read_tuning(BatchTuning, options["user_config"])
