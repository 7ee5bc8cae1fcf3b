"""The memory of a step: computed from shapes, and planned by XLA."""

import jax
import pytest

from vjax import load_config
from vjax.step_plan import describe_cost, plan_step

TINY = ["--config.batch_size=16", "--config.source.root=nowhere"]


@pytest.mark.parametrize("overrides", [[], ["--config.sharding=fsdp", "--config.ema_decay=0.9"]])
def test_the_plan_of_xla_has_the_state_and_the_batch_that_were_computed(overrides):
    config = load_config("folder:tiny", [*TINY, *overrides])
    plan = plan_step(config, num_classes=3)
    memory = describe_cost(config, num_classes=3, num_devices=jax.device_count()).memory
    labels = 16 // jax.device_count() * 4
    assert plan.arguments == memory.state + memory.clips // 2 + labels
    assert plan.temporary > memory.gradients
