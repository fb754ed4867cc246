import pytest

pytest.register_assert_rewrite("gallery_contract")
