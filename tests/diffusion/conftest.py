"""Fixtures of the tests of sampling."""

import pytest


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()
