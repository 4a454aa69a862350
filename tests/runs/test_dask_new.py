"""--dask with another distributed than those that were tried: one line."""

from __future__ import annotations

import pytest

from synthtumour.errors import InputError
from tests.conftest import MakeHead

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("missing", ["_run", "_run_on_scheduler"])
def test_calls_that_distributed_no_longer_has(
    missing: str, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    from synthtumour.runs.dask import cluster_at

    folder = make_head("in/s0").parent
    monkeypatch.delattr(distributed.Client, missing)
    with distributed.LocalCluster(
        1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None
    ) as local:
        with pytest.raises(InputError, match="not one of those that were tried") as refused:
            with cluster_at(local.scheduler_address, [folder], [folder]):
                pass
    assert "\n" not in str(refused.value) and distributed.__version__ in str(refused.value)
