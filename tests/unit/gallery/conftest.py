import pytest

pytest.register_assert_rewrite(
    "tests.unit.gallery.gallery_contract", "tests.unit.gallery.gallery_contract_reading"
)
