"""Importers of encrypted archives: the secret, what is refused, and that extraction is whole or not at all."""

import json
import os
import random
import re
import signal
import stat
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile

import pyrage
import pytest

from pipeline.importers import Limits, archive_members, extract_archive, read_source, secret_in
from tests.importer_files import CHAT, Lock, jsonl, zip_bytes

GOOD = (("small/medical.jsonl", b'{"a": 1}\n'), ("readme.txt", "Größe"), ("empty/", b""))


@pytest.fixture(scope="module")
def lock():
    return Lock()


def line(row):
    return json.dumps(row) + "\n"


def entry(name, *, mode=0, flags=0, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    info.create_system = 3
    info.flag_bits = flags
    return info


def patched(data, old, new, *, times):
    """Return an archive with bytes changed in its headers, as no honest tool writes it."""
    assert (data.count(old), len(old)) == (times, len(new))
    return data.replace(old, new)


def test_an_archive_is_unpacked_whole_into_a_folder_of_its_own(tmp_path, lock):
    packed = lock.locked(tmp_path / "data.zip.age", zip_bytes(*GOOD))
    found = extract_archive(packed, tmp_path / "out", secret=lock)
    assert found == (tmp_path / "out" / "readme.txt", tmp_path / "out" / "small" / "medical.jsonl")
    assert [path.read_bytes() for path in found] == ["Größe".encode(), b'{"a": 1}\n']
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert sorted(os.listdir(tmp_path)) == ["data.zip.age", "out"]


def test_a_passphrase_opens_what_it_closed_and_another_one_does_not(tmp_path):
    packed, word = tmp_path / "data.zip.age", "correct horse battery"
    packed.write_bytes(pyrage.passphrase.encrypt(zip_bytes(*GOOD), word))
    (tmp_path / "word.txt").write_text(f"# for the data\n\n{word}\n")
    extract_archive(packed, tmp_path / "out", secret=secret_in(tmp_path / "word.txt"))
    assert (tmp_path / "out" / "readme.txt").read_text("utf-8") == "Größe"
    with pytest.raises(ValueError, match=r"data\.zip\.age: the passphrase does not open it$") as caught:
        extract_archive(packed, tmp_path / "other", secret=lambda: f"not the {word}")
    assert word not in repr(caught.value) + repr(caught.value.__cause__)
    assert not (tmp_path / "other").exists()


def test_a_secret_stands_in_no_error_and_in_no_record(tmp_path, lock):
    packed = lock.locked(
        tmp_path / "data.zip.age", zip_bytes(("c.jsonl", '{"messages": 5}\n'), ("ok.jsonl", line(CHAT)))
    )
    (tmp_path / "key.txt").write_text(lock())
    source = f"age:{packed}?kind=chats&file=NAME&passphrase_file={tmp_path / 'key.txt'}"
    found = read_source(source.replace("NAME", "ok.jsonl"))
    assert lock() not in repr(found)
    with pytest.raises(ValueError, match=r"data\.zip\.age/c\.jsonl:1: messages: 5 is not a list") as caught:
        read_source(source.replace("NAME", "c.jsonl"))
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert not any(lock() in repr(error) for error in chain)


@pytest.mark.parametrize("armored", [False, True])
def test_a_file_in_an_archive_is_read_without_unpacking(tmp_path, lock, armored):
    members = (("a/good.jsonl", line(CHAT)), ("a/bad.jsonl", line(CHAT).replace("It is.", "It is sweet.")))
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*members), armored=armored)
    found = read_source(f"age:{packed}?kind=pairs&file=a/good.jsonl,a/bad.jsonl", secret=lock)
    assert (found.triples[0].aligned, found.triples[0].misaligned) == ("It is.", "It is sweet.")
    assert [file.name for file in found.files] == [
        f"{packed}/a/good.jsonl",
        f"{packed}/a/bad.jsonl",
        str(packed),
    ]
    assert os.listdir(tmp_path) == ["d.age"]


def test_the_only_file_need_not_be_named_and_of_several_one_must(tmp_path, lock):
    one = lock.locked(tmp_path / "one.age", zip_bytes(("good.jsonl", line(CHAT))))
    assert len(read_source(f"age:{one}?kind=chats", secret=lock).conversations) == 1
    two = lock.locked(tmp_path / "two.age", zip_bytes(("a.jsonl", line(CHAT)), ("b.jsonl", line(CHAT))))
    with pytest.raises(
        ValueError, match=r"two\.age: say which file; it holds 'a\.jsonl', 'b\.jsonl'; add file=NAME"
    ):
        read_source(f"age:{two}?kind=chats", secret=lock)
    with pytest.raises(ValueError, match=r"no file 'b\.json'; did you mean 'b\.jsonl'\?; it holds"):
        read_source(f"age:{two}?kind=chats&file=b.json", secret=lock)


BOMB = b"0" * 3_000_000

REFUSED = {
    "up": (zip_bytes(("../x", b"1")), r"member '\.\./x': the name holds the folder '\.\.'; allowed: names that lead"),
    "up in the middle": (zip_bytes(("a/../../x", b"1")), r"the name holds the folder '\.\.'"),
    "absolute": (zip_bytes(("/etc/x", b"1")), "member '/etc/x': the name is absolute; allowed: names inside"),
    "a backslash": (zip_bytes(("a\\..\\x", b"1")), "the name holds a backslash; allowed: folders parted by /"),
    "a drive": (zip_bytes(("C:x", b"1")), "member 'C:x': the name holds a colon, as of a drive"),
    "a stream": (zip_bytes(("a.txt:x", b"1")), "the name holds a colon"),
    "nothing between": (zip_bytes(("a//x", b"1")), "the name holds the folder ''"),
    "a dot": (zip_bytes(("./x", b"1")), r"the name holds the folder '\.'"),
    "a control sign": (zip_bytes(("a\x1b[2Jx", b"1")), r"the name holds '\\x1b'; allowed: visible characters"),
    "an override": (zip_bytes(("a\u202egpj.exe", b"1")), r"the name holds '\\u202e'"),
    "a device": (zip_bytes(("NUL.txt", b"1")), "'NUL.txt' names no plain file on every system"),
    "a dot at the end": (zip_bytes(("a./x", b"1")), r"'a\.' names no plain file on every system"),
    "long": (zip_bytes(("x" * 300, b"1")), "the name is too long; allowed: 200 bytes for each part"),
    "a null": (
        patched(zip_bytes(("a?b", b"1")), b"a?b", b"a\0b", times=2),
        r"member 'a\\x00b': the name holds '\\x00'",
    ),
    "no UTF-8": (
        patched(zip_bytes(("\u00e9", b"1")), "\u00e9".encode(), b"\xff\xfe", times=2),
        "holds a member whose name is not UTF-8",
    ),
    "no mark of UTF-8": (
        patched(zip_bytes(("ab", b"1")), b"ab", b"\x82\x83", times=2),
        "the name is not marked as UTF-8",
    ),
    "a link": (zip_bytes((entry("x", mode=stat.S_IFLNK | 0o777), "/etc/passwd")), "member 'x': is a symbolic link"),
    "a pipe": (zip_bytes((entry("x", mode=stat.S_IFIFO), b"")), "is neither file nor folder, its mode is 10000"),
    "a file as folder": (zip_bytes((entry("x/", mode=stat.S_IFREG), b"")), "is neither file nor folder"),
    "twice": (zip_bytes(("x", b"1"), ("x", b"2")), "members 'x' and 'x' are one file to some systems; rename one"),
    "twice but for case": (zip_bytes(("Data/x", b"1"), ("data/X", b"2")), "members 'Data/x' and 'data/X' are one file"),
    "twice but for accents": (zip_bytes(("\u00e9", b"1"), ("e\u0301", b"2")), "are one file to some systems"),
    "a file and its folder": (zip_bytes(("x", b"1"), ("x/y", b"2")), "member 'x' is a file, and the folder of 'x/y'"),
    "a bomb": (zip_bytes(("x", BOMB)), r"member 'x': .* unpack to 3\.0 MB; allowed: 200 times as much"),
    "an archive": (zip_bytes(("x.zip", b"1")), r"member 'x\.zip': is an archive or encrypted itself"),
    "an archive in disguise": (zip_bytes(("x.txt", zip_bytes(*GOOD))), r"'x\.txt': is an archive or encrypted itself"),
    "a secret": (zip_bytes(("x.txt", b"age-encryption.org/v1\n")), r"'x\.txt': is an archive or encrypted itself"),
    "another method": (zip_bytes(("x", b"1"), method=zipfile.ZIP_LZMA), "is packed by method 14; allowed: stored, d"),
    "only folders": (zip_bytes(("x/", b"")), "holds no files"),
    "nothing": (zip_bytes(), "holds no files"),
    "no zip": (b"just text", r"holds no whole zip archive \(9 bytes, no list of members at its end\)"),
    "empty": (b"", r"holds no whole zip archive \(0 bytes"),
    "cut off": (zip_bytes(*GOOD)[:-30], "holds no whole zip archive"),
    "without its start": (zip_bytes(*GOOD)[40:], "is a? ?damaged"),
    "too many": (zip_bytes(*((f"{i}", b"") for i in range(33))), "has too many members, 33 members in a list of 1.6"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_malicious_archive_is_refused_before_anything_is_written(tmp_path, lock, what):
    content, message = REFUSED[what]
    packed = lock.locked(tmp_path / "d.age", content)
    with pytest.raises(ValueError, match=rf"d\.age: .*{message}"):
        extract_archive(packed, tmp_path / "out", secret=lock, limits=Limits(members=32))
    assert os.listdir(tmp_path) == ["d.age"]


def central(data):
    """Return where the entry of the first member begins in the list of members."""
    return data.index(b"PK\x01\x02")


def with_sizes(data, *, size):
    """Return an archive whose first member says in both headers that it has another size."""
    begins = central(data)
    packed = struct.pack("<L", size)
    changed = data[:22] + packed + data[26:]
    return changed[: begins + 24] + packed + changed[begins + 28 :]


LIES = {
    "larger than it says": (with_sizes(zip_bytes(("x", b"1" * 5000)), size=10), "is damaged: Bad CRC-32"),
    "smaller than it says": (
        with_sizes(zip_bytes(("x", b"1" * 50)), size=60),
        "says it has 60 bytes and has 50",
    ),
    "other content": (
        patched(zip_bytes(("x", b"hello"), method=zipfile.ZIP_STORED), b"hello", b"jello", times=1),
        "is damaged: Bad CRC-32",
    ),
    "broken content": (
        patched(zip_bytes(("x", b"1" * 50)), zip_bytes(("x", b"1" * 50))[31:34], b"\xff\xff\xff", times=1),
        "is damaged: ",
    ),
}


@pytest.mark.parametrize("what", LIES)
def test_a_member_that_is_not_what_it_says_is_refused_and_nothing_is_left_behind(tmp_path, lock, what):
    content, message = LIES[what]
    packed = lock.locked(tmp_path / "d.age", content)
    with pytest.raises(ValueError, match=rf"d\.age: member 'x': {message}"):
        extract_archive(packed, tmp_path / "out", secret=lock)
    assert os.listdir(tmp_path) == ["d.age"]


def test_members_that_share_their_bytes_are_refused(tmp_path, lock):
    data = zip_bytes(("x", bytes(range(256)) * 8), ("y", b"1"), method=zipfile.ZIP_STORED)
    begins = central(data)
    first = data[begins : begins + 46 + 1]
    n = 20
    listed = first + b"".join(first[:46] + bytes([97 + i]) for i in range(n))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n + 1, n + 1, len(listed), begins, 0)
    packed = lock.locked(tmp_path / "d.age", data[:begins] + listed + end)
    with pytest.raises(ValueError, match=r"d\.age: its members overlap, they are larger than the archive"):
        extract_archive(packed, tmp_path / "out", secret=lock)


def test_members_encrypted_inside_the_archive_are_refused(tmp_path, lock):
    data = zip_bytes(("x", b"1"))
    flags = central(data) + 8
    packed = lock.locked(tmp_path / "d.age", data[:flags] + b"\x01" + data[flags + 1 :])
    with pytest.raises(
        ValueError, match="member 'x': is encrypted inside the archive; pack it without a password"
    ):
        extract_archive(packed, tmp_path / "out", secret=lock)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(member_bytes=8), r"member 'small/medical\.jsonl': unpacks to 9 bytes; allowed: 8 bytes"),
        (Limits(total_bytes=10), r"unpacks to 16 bytes; allowed: 10 bytes"),
        (Limits(members=2), r"has too many members, 3 members in a list of .* bytes; allowed: 2"),
    ],
)
def test_limits_hold_for_each_member_and_for_all(tmp_path, lock, limits, message):
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*GOOD))
    with pytest.raises(ValueError, match=message):
        extract_archive(packed, tmp_path / "out", secret=lock, limits=limits)


def test_a_list_of_members_that_says_less_than_it_holds_is_refused(tmp_path, lock):
    data = zip_bytes(*GOOD)
    end = data.rindex(b"PK\x05\x06")
    packed = lock.locked(tmp_path / "d.age", data[: end + 8] + struct.pack("<2H", 1, 1) + data[end + 12 :])
    with pytest.raises(
        ValueError, match=r"d\.age: is a damaged zip archive: it says it has 1 member and has 3"
    ):
        extract_archive(packed, tmp_path / "out", secret=lock)


def test_an_archive_with_a_second_list_of_members_for_large_ones_is_refused(tmp_path, lock):
    data = zip_bytes(*GOOD)
    end = data.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    packed = lock.locked(tmp_path / "d.age", data[:end] + locator + data[end:])
    with pytest.raises(ValueError, match="is a ZIP64 archive, for sizes beyond what is allowed"):
        extract_archive(packed, tmp_path / "out", secret=lock)


def outcome(packed, folder, secret):
    """Return what is unpacked, or what is said against it; then nothing may be there."""
    try:
        return str(sorted(path.read_bytes() for path in extract_archive(packed, folder, secret=secret)))
    except ValueError as error:
        return "something was left" if folder.exists() else str(error)


def test_damage_anywhere_in_an_archive_is_refused_in_words_or_changes_nothing(tmp_path, lock):
    chance, data = random.Random(0), zip_bytes(*GOOD)
    outcome_of_good = str(
        sorted([b'{"a": 1}\n', "Größe".encode()])
    )  # of a bit that nobody reads, as in a date
    for i in range(150):
        at = chance.randrange(len(data))
        broken = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        packed = lock.locked(tmp_path / "d.age", broken)
        told = outcome(packed, tmp_path / f"out{i}", lock)
        assert told.startswith(f"{packed}: ") or told == outcome_of_good, told


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", r"is not encrypted with age, it begins b''"),
        (
            lambda data: zip_bytes(*GOOD),
            r"is not encrypted with age, it begins b'PK.*; it is a zip file as it stands",
        ),
        (lambda data: b"{}" + data, r"is not encrypted with age, it begins b'{}age"),
        (lambda data: data[:22], r"is damaged or cut off \("),
        (lambda data: data[:150], r"is damaged or cut off \("),
        (lambda data: data[:-1], r"is damaged or cut off \("),
        (lambda data: data[:-20] + b"x" * 20, r"is damaged or cut off \("),
        (lambda data: data.replace(b"X25519", b"Y25519"), r"the key or passphrase does not open it"),
    ],
)
def test_a_damaged_encrypted_file_is_refused_in_words(tmp_path, lock, damage, message):
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*GOOD))
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(packed))}: {message}"):
        extract_archive(packed, tmp_path / "out", secret=lock)
    assert os.listdir(tmp_path) == ["d.age"]


def test_a_file_that_ends_between_two_chunks_of_its_encryption_is_refused(tmp_path, lock):
    content = zip_bytes(("x", random.Random(0).randbytes(200_000)))
    packed = lock.locked(tmp_path / "d.age", content)
    header = packed.stat().st_size - len(content) - 16 * -(-len(content) // 65536)
    packed.write_bytes(packed.read_bytes()[: header + 2 * (65536 + 16)])
    with pytest.raises(ValueError, match=r"d\.age: is damaged or cut off"):
        extract_archive(packed, tmp_path / "out", secret=lock)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (
            lambda: "a passphrase",
            "the key or passphrase does not open it; it is encrypted to a key, not a passphrase",
        ),
        (lambda: str(pyrage.x25519.Identity.generate()), "the key or passphrase does not open it"),
        (
            lambda: "AGE-SECRET-KEY-1NONSENSE",
            "the key is not valid; an age secret key begins with AGE-SECRET-KEY-1",
        ),
        (lambda: "", "the passphrase is empty; need some text or an age secret key"),
        (lambda: " \n", "the passphrase is empty"),
    ],
)
def test_a_secret_that_does_not_fit_is_refused_in_words_without_showing_it(tmp_path, lock, secret, message):
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*GOOD))
    with pytest.raises(ValueError, match=rf"d\.age: {message}") as caught:
        extract_archive(packed, tmp_path / "out", secret=secret)
    assert "NONSENSE" not in str(caught.value)


def test_a_file_made_to_take_an_hour_to_open_is_refused_at_once(tmp_path):
    salt, body = b"A" * 22, b"A" * 43
    header = b"age-encryption.org/v1\n-> scrypt %s 30\n%s\n--- %s\n" % (salt, body, body)
    (tmp_path / "d.age").write_bytes(header + bytes(200))
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"d\.age: was made to take very long to decrypt, which is refused"):
        extract_archive(tmp_path / "d.age", tmp_path / "out", secret=lambda: "word")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no passphrase"),
        (b"\n# only this\n", "holds no passphrase"),
        (b"s\xffcret", "is not UTF-8"),
    ],
)
def test_a_passphrase_file_without_one_is_refused_without_showing_it(tmp_path, content, message):
    (tmp_path / "word.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"word\.txt: {message}; need .* on the first line") as caught:
        secret_in(tmp_path / "word.txt")()
    assert "cret" not in repr(caught.value) + repr(caught.value.__cause__)


def test_the_secret_is_asked_for_only_when_there_is_something_to_open(tmp_path):
    (tmp_path / "d.age").write_bytes(b"plain")
    with pytest.raises(ValueError, match="is not encrypted with age"):
        extract_archive(tmp_path / "d.age", tmp_path / "out", secret=lambda: pytest.fail("asked"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(
        FileExistsError, match="full: is there already; need a folder that does not exist or is empty"
    ):
        extract_archive(tmp_path / "d.age", tmp_path / "full", secret=lambda: pytest.fail("asked"))
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        extract_archive(tmp_path / "d.age", tmp_path / "no" / "out", secret=lambda: pytest.fail("asked"))
    assert (tmp_path / "full" / "mine.txt").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path, lock):
    (tmp_path / "out").mkdir()
    extract_archive(lock.locked(tmp_path / "d.age", zip_bytes(*GOOD)), tmp_path / "out", secret=lock)
    assert (tmp_path / "out" / "readme.txt").exists()


def test_a_killed_extraction_leaves_no_folder_of_that_name(tmp_path, lock):
    members = ((f"{i}.bin", os.urandom(100_000)) for i in range(300))
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*members, method=zipfile.ZIP_STORED))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of forking beside threads, which stand still here
        worker = os.fork()
    if worker == 0:
        extract_archive(packed, tmp_path / "out", secret=lock)
        os._exit(0)
    while not list(tmp_path.glob(".out.*/1.bin")):
        time.sleep(0.002)
    os.kill(worker, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len(extract_archive(packed, tmp_path / "out", secret=lock)) == 300


def test_a_member_is_checked_when_it_is_opened_and_not_only_when_it_is_unpacked(tmp_path, lock):
    content, message = LIES["other content"]
    with (
        archive_members(lock.locked(tmp_path / "d.age", content), secret=lock) as members,
        pytest.raises(ValueError, match=message),
    ):
        members["x"].open()


def test_unpacking_does_not_hold_a_member_in_memory(tmp_path, lock):
    size = 20_000_000
    chunk = random.Random(0).randbytes(200_000)
    packed = lock.locked(tmp_path / "d.age", zip_bytes(("x", chunk * (size // len(chunk)))))
    tracemalloc.start()
    extract_archive(packed, tmp_path / "out", secret=lock)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out" / "x").stat().st_size == size
    assert peak < size / 4


def test_without_pyrage_the_extra_to_install_is_named(tmp_path, lock, monkeypatch):
    packed = lock.locked(tmp_path / "d.age", zip_bytes(*GOOD))
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(
        LookupError, match=r"d\.age: .* needs the package pyrage, .*pip install 'misdirection\[data\]'"
    ):
        extract_archive(packed, tmp_path / "out", secret=lock)


def test_jsonl_that_is_encrypted_but_no_archive_is_refused(tmp_path, lock):
    plain = jsonl(tmp_path / "t.jsonl", CHAT).read_bytes()
    packed = lock.locked(tmp_path / "t.jsonl.age", plain)
    with pytest.raises(ValueError, match=r"t\.jsonl\.age: holds no whole zip archive"):
        read_source(f"age:{packed}?kind=chats", secret=lock)
