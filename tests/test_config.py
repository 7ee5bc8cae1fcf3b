"""Config files, what the command line changes in them, and what `vjax config` shows."""

import json
import pathlib
import tomllib
from typing import get_args

import pytest

from vjax import typed
from vjax.config import CHANGEABLE, Config, check_config
from vjax.config_file import NO_DEFAULT, list_keys, load_config, make_tiny
from vjax.data.splits import SplitRule
from vjax.errors import InputError
from vjax.experiment import open_config_source
from vjax.models import NETWORKS
from vjax.spec import Choice
from vjax.training.optim import OPTIMIZERS

ROOT = pathlib.Path(__file__).parents[1]

PAGE = """
from vjax.config import Choice, Clip, Config

def get_config():
    return Config(source=Choice("videos", root="r"), clip=Clip(num_frames=4, size=32, stride=2), batch_size=24,
                  network=Choice("slow_fusion", backbone=Choice("small", widths=(4, 8), norm="group"), dropout=0.3))

def wide():
    return Config(batch_size=64)

def wrong():
    return {"batch_size": 1}
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.py"
    path.write_text(PAGE)
    return path


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("--config.batch_size=8", "batch_size", 8),
        ("--config.source.root=/a/b=c", "source.root", "/a/b=c"),
        ("--config.source.root=7", "source.root", "7"),
        ("--config.source.group=(g[0-9]+)_c", "source.group", "(g[0-9]+)_c"),
        ("--config.clip.size=(48, 60)", "clip.size", (48, 60)),
        ("--config.clip.size=48,60", "clip.size", (48, 60)),
        ("--config.length=30 epochs", "length", "30 epochs"),
        ("--config.optimizer.warmup=2 epochs", "optimizer.warmup", "2 epochs"),
        ("--config.augment.flip=false", "augment.flip", False),
        ("--config.ema_decay=0.9", "ema_decay", 0.9),
        ("--config.network.backbone.widths=(3, 5)", "network.backbone.widths", (3, 5)),
        ("--config.network.backbone.depth=2", "network.backbone.depth", 2),
        ("--config.optimizer.b1=0.8", "optimizer.b1", 0.8),
    ],
)
def test_the_command_line_sets_any_key_whether_the_file_names_it_or_not(page, override, key, value):
    assert {row.key: row.value for row in list_keys(load_config(str(page), [override]))}[key] == value


def test_a_rate_is_replaced_by_another_one(page):
    clip = load_config(str(page), ["--config.clip.stride=none", "--config.clip.fps=12.5"]).clip
    assert (clip.stride, clip.fps) == (None, 12.5)
    with pytest.raises(InputError, match=r"exactly one of stride, fps and duration_s, got {'stride': 2, 'fps': 12.5}"):
        load_config(str(page), ["--config.clip.fps=12.5"])


def test_a_change_of_name_keeps_the_options_that_mean_the_same_and_resets_the_others(page):
    network = load_config(str(page), ["--config.network.backbone.name=resnet18"]).network
    assert network.options["dropout"] == 0.3
    backbone = network.options["backbone"]
    assert backbone.options == {
        "factored": False,
        "widths": (64, 128, 256, 512),
        "norm": "group",
        "drop_path": 0.0,
        "remat": False,
    }


def test_an_option_of_a_new_name_may_stand_before_the_name(page):
    words = ["--config.network.backbone.factored=True", "--config.network.backbone.name=resnet18"]
    assert load_config(str(page), words).network.options["backbone"].options["factored"] is True


def test_a_config_has_more_than_one_version(page):
    assert load_config(f"{page}:wide").batch_size == 64
    tiny = load_config(f"{page}:tiny")
    assert tiny == check_config(make_tiny(load_config(str(page))))
    assert (tiny.length, tiny.size, tiny.network.options["dropout"]) == (4, (16, 16), 0.3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.batch_sise=3", "config does not know 'batch_sise'; did you mean 'batch_size'"),
        ("--config.clip.sise=3", "config.clip does not know 'sise'; did you mean 'size'"),
        ("--config.clp.size=3", "config does not know 'clp'; did you mean 'clip'"),
        ("--config.batch_size.value=3", "config.batch_size is a value, not a section"),
        ("--config.batch_size", "a key of the config is set by --config.KEY=VALUE"),
        ("--config.batch_size=many", "config.batch_size is a whole number, got 'many'"),
        ("--config.batch_size=True", "config.batch_size is a whole number, got True"),
        ("--config.augment.flip=1", "config.augment.flip is True or False, got 1"),
        ("--config.clip=3", "config.clip is a section; set its keys one by one, as config.clip.KEY=...; got '3'"),
        ("--config.network=late_pool", "config.network is a section; .* as config.network.name=...; got 'late_pool'"),
        ("--config.network.name=late_poll", "config.network does not know 'late_poll'; did you mean 'late_pool'"),
        ("--config.network.backbone.facored=1", "config.network.backbone 'small' does not know 'facored'"),
        ("--config.network.hidden=1", "config.network 'slow_fusion' does not know 'hidden'"),
        ("--config.sharding=dta", "config.sharding does not know 'dta'; did you mean 'data'"),
        ("--config.test.num_crops=2", "config.test.num_crops is 1 or 3, got 2"),
        ("--config.optimizer.learning_rate=-1", "config.optimizer.learning_rate must be above 0, got -1.0"),
        ("--config.optimizer.warmup=often", "config.optimizer.warmup is a number of steps, or a text such as"),
    ],
)
def test_an_override_that_does_not_work_is_explained(page, override, message):
    with pytest.raises(InputError, match=message):
        load_config(str(page), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "does not work as a config: SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1", "does not know 'get_config'"),
        (PAGE.replace("batch_size=24", "bach_size=24"), r"page.py: Config does not know 'bach_size'; did you mean"),
        (PAGE.replace("num_frames=4", "num_frame=4"), r"page.py: Clip does not know 'num_frame'; did you mean"),
        (PAGE.replace("norm=", "nrm="), "config.network.backbone 'small' does not know 'nrm'; did you mean 'norm'"),
        (PAGE.replace("batch_size=24", "batch_size='24'"), "config.batch_size is a whole number, got '24'"),
    ],
)
def test_a_file_that_is_no_config_is_explained(page, text, message):
    page.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(str(page))


def test_a_config_that_comes_with_vjax_has_a_name(monkeypatch, tmp_path):
    expected = load_config(str(ROOT / "configs/weizmann.py"))
    monkeypatch.chdir(tmp_path)
    assert load_config("weizmann") == expected
    (tmp_path / "weizmann").write_text(PAGE)
    assert load_config("weizmann").batch_size == 24, "a file of that name takes precedence"


def test_a_wheel_holds_every_package_and_the_configs():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {".".join(path.relative_to(ROOT).parent.parts) for path in ROOT.glob("vjax/**/__init__.py")}
    assert set(settings["packages"]) == packages | {"vjax.configs", "vjax.configs.lecture"}
    assert settings["package-dir"] == {"vjax.configs": "configs"}


def test_a_missing_file_and_a_wrong_result_are_explained(page):
    with pytest.raises(
        InputError, match=r"there is no file 'nowhere.py'; these configs come with vjax: finetune, folder"
    ):
        load_config("nowhere.py")
    with pytest.raises(InputError, match=r"wrong\(\) must return a vjax.Config, got dict"):
        load_config(f"{page}:wrong")


def test_a_config_is_read_back_from_json_as_the_same(page):
    config = load_config(str(page))
    assert check_config(json.loads(json.dumps(typed.as_plain(config)))) == config


def test_every_key_is_listed_with_its_default_and_options_with_that_of_their_name(page):
    rows = {row.key: row for row in list_keys(load_config(str(page)))}
    assert rows["batch_size"][1:3] == (24, 16)
    assert rows["network.backbone.norm"][1:3] == ("group", "batch")
    assert rows["network.backbone.name"][1:3] == ("small", "small")
    assert rows["source.root"].default is NO_DEFAULT


def test_the_defaults_alone_differ_from_those_of_their_options_in_little():
    differing = {row.key for row in list_keys(check_config(Config())) if row.value != row.default}
    assert differing == {"source.root", "optimizer.learning_rate", "optimizer.warmup"}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("source", ["videos", "ucf101", "kinetics", "tfds", "moving_shapes"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_key_says_what_it_is(network, source, optimizer):
    given = {"tfds": {"dataset": "x"}, "moving_shapes": {"data_dir": "x"}}.get(source, {"root": "x"})
    choices = [Choice(network)]
    if "backbone" in NETWORKS.options(network):
        choices = [Choice(network, backbone=Choice(backbone)) for backbone in ("small", "resnet18")]
    for choice in choices:
        config = Config(
            source=Choice(source, **given),
            network=choice,
            optimizer=Choice(optimizer, learning_rate=0.1),
        )
        assert [row.key for row in list_keys(check_config(config)) if len(row.what.split()) < 2] == []


def test_the_keys_that_may_change_on_resume_are_those_that_keep_the_result():
    assert {"log_every", "num_workers", "sharding", "profile"} <= set(CHANGEABLE)
    assert not {"seed", "network", "batch_size", "length", "ema_decay"} & set(CHANGEABLE)


def test_a_source_from_outside_is_a_choice_like_any_other(monkeypatch, page):
    def open_mine(*, rule: SplitRule, count: int = 3):
        return rule.seed, rule.held_out, count

    table = get_args(typed.field_types(Config)["source"])[1]
    monkeypatch.setitem(table, "mine", open_mine)
    config = load_config(str(page), ["--config.source.name=mine", "--config.source.count=5"])
    assert config.source == Choice("mine", count=5)
    assert open_config_source(config) == (0, "", 5)


def test_another_fusion_network_keeps_the_backbone_and_a_published_network_its_own_options():
    config = check_config(Config(network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3)))
    late = check_config(config.with_network("late_concat")).network.options
    assert (late["backbone"].name, late["dropout"], late["hidden"]) == ("resnet18", 0.3, 256)
    assert check_config(config.with_network("c3d")).network.options["dropout"] == 0.5
    s3d = check_config(config.with_network("s3d"))
    assert check_config(s3d.with_network("late_pool")).network.options["dropout"] == 0
    assert config.with_network("slow_fusion") is config
