"""Channel keys at rest: sealed with one key, opened with no other, and never shown."""

import multiprocessing
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.errors import NotConfigured
from worker.settings import read_settings
from worker.vault import KEY_FILE, Vault

KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
SECRET = "wasender-session-key"


def vault(**environment: object) -> Vault:
    return Vault(read_settings(**environment, _env_file=None))


def seal_here(folder: Path) -> str:
    return vault(TRUETICK_VAR_DIR=folder).seal(SECRET)


@settings(max_examples=30, deadline=None)
# Between signs that stand nowhere else, so that it is not found by chance.
@given(secret=st.text(max_size=300).map(lambda text: f"§{text}§"))
def test_what_is_sealed_is_opened_again_and_shows_neither_key_nor_secret(secret: str) -> None:
    opener = vault(TRUETICK_SECRET_KEY=KEY)
    sealed = opener.seal(secret)
    opened = vault(TRUETICK_SECRET_KEY=KEY).open(sealed)
    assert opened.get_secret_value() == secret
    assert sealed != opener.seal(secret)
    for shown in (sealed, repr(opened), repr(opener), str(vars(opener))):
        assert KEY not in shown
        assert secret not in shown


@pytest.mark.parametrize(
    "sealed", [vault(TRUETICK_SECRET_KEY=OTHER_KEY).seal(SECRET), "", "garbage", "gAAAAA==", "é"]
)
def test_another_key_opens_nothing_and_says_what_to_do(sealed: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        vault(TRUETICK_SECRET_KEY=KEY).open(sealed)
    assert caught.value.code == "wrong_secret_key"
    assert "TRUETICK_SECRET_KEY" in caught.value.message
    assert KEY not in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", ["short", "!" * 44, "é" * 44, "A" * 44 + "A", "QUJD"])
def test_a_key_that_is_none_is_named_without_being_shown(key: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        vault(TRUETICK_SECRET_KEY=key).seal(SECRET)
    assert caught.value.code == "bad_secret_key"
    assert key not in caught.value.message


def test_several_machines_need_a_key_of_their_own(tmp_path: Path) -> None:
    shared = vault(DATABASE_URL="postgresql://truetick@db/truetick", TRUETICK_VAR_DIR=tmp_path)
    for work in (lambda: shared.seal(SECRET), lambda: shared.open("anything")):
        with pytest.raises(NotConfigured) as caught:
            work()
        assert caught.value.code == "no_secret_key"
    assert list(tmp_path.iterdir()) == []


def test_one_machine_makes_its_key_on_the_first_seal_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    with pytest.raises(NotConfigured):
        vault(TRUETICK_VAR_DIR=folder).open("anything")
    assert not folder.exists(), "opening makes no key that could not fit"
    sealed = seal_here(folder)
    kept = folder / KEY_FILE
    assert (stat.S_IMODE(kept.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    assert vault(TRUETICK_VAR_DIR=folder).open(sealed).get_secret_value() == SECRET
    assert vault(TRUETICK_SECRET_KEY=kept.read_text()).open(sealed).get_secret_value() == SECRET


def test_of_many_who_make_the_key_at_once_all_use_the_same(tmp_path: Path) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        with ThreadPoolExecutor(8) as pool:
            sealed = list(pool.map(seal_here, [folder] * 8))
        opener = vault(TRUETICK_VAR_DIR=folder)
        assert {opener.open(one).get_secret_value() for one in sealed} == {SECRET}
        assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_processes_agree_on_the_key_too(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        sealed = pool.map(seal_here, [tmp_path] * 8)
    assert {vault(TRUETICK_VAR_DIR=tmp_path).open(one).get_secret_value() for one in sealed} == {SECRET}


def test_the_default_channel_takes_its_key_from_the_environment() -> None:
    opener = vault(TRUETICK_SECRET_KEY=KEY, WASENDER_API_KEY=SECRET)
    key = opener.channel_key(None)
    assert key is not None
    assert key.get_secret_value() == SECRET
    own = opener.channel_key(opener.seal("another"))
    assert own is not None
    assert own.get_secret_value() == "another"
    assert vault(TRUETICK_SECRET_KEY=KEY).channel_key(None) is None


def test_a_folder_in_which_no_key_can_be_kept_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotConfigured, match="cannot be written to") as caught:
        seal_here(tmp_path / "file" / "var")
    assert caught.value.code == "not_writable"
