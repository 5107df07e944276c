"""No secret in any output."""

from __future__ import annotations

import pytest

from ma2l.secrets import looks_secret, mask, mask_argv


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN", "WANDB_API_KEY", "OBS_AK", "OBS_SK", "--password",
        "--secret-key", "db.passwd", "MYSQL_PWD", "accessKey", "privateKey", "SSH_PASSPHRASE", "Authorization",
        "NGC_AUTHTOKEN", "KEY",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)
    assert mask(name, "value") == "***"


@pytest.mark.parametrize(
    "name",
    [
        "RANK_TABLE_FILE", "MONKEY", "HCCL_CONNECT_TIMEOUT", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM",
        "--tokenizer-path", "--task", "PASSES", "MASTER_ADDR", "KEYBOARD",
    ],
)  # fmt: skip
def test_names_of_ordinary_things(name: str) -> None:
    assert not looks_secret(name)
    assert mask(name, "value") == "value"


def test_an_empty_value_is_shown_as_empty() -> None:
    assert mask("HF_TOKEN", "") == ""


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["x", "--token", "abc", "y"], ["x", "--token", "***", "y"]),
        (["x", "--token=a b=c", "y"], ["x", "--token=***", "y"]),
        (["x", "--auth", "--lr", "1"], ["x", "--auth", "--lr", "1"]),
        (["env", "HF_TOKEN=abc", "python"], ["env", "HF_TOKEN=***", "python"]),
        (["sh", "-c", "A=1 HF_TOKEN=abc python x"], ["sh", "-c", "A=1 HF_TOKEN=*** python x"]),
        (["sh", "-c", "export HF_TOKEN='a b'; python"], ["sh", "-c", "export HF_TOKEN=***; python"]),
        (["x", "s3://user:pass@host/p"], ["x", "s3://user:***@host/p"]),
        (["x", "https://host:80/p@q", "a=b"], ["x", "https://host:80/p@q", "a=b"]),
        (["x", "\udcff--token"], ["x", "\udcff--token"]),
    ],
)
def test_command_lines(argv: list[str], shown: list[str]) -> None:
    assert mask_argv(argv) == tuple(shown)


def test_a_long_word_does_not_hold_up_the_start() -> None:
    """The longest word that Linux lets anybody pass; a quadratic search of it takes minutes."""
    word = "a" * 131_071
    assert mask_argv(["python", "-c", word]) == ("python", "-c", word)
