"""Laws of the published datasets, on small files in torchvision's layouts with sums of their own."""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import hashlib
import http.server
import io
import pickle
import shutil
import socket
import socketserver
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import datasets

from vitbench.config.data import DataConfig
from vitbench.data import downloads
from vitbench.data.datasets import Split, load_split
from vitbench.errors import InputError
from vitbench.registry import DATASETS
from vitbench.testing import check_dataset

NAMES = [name for name in DATASETS.names() if hasattr(DATASETS[name], "place")]
SPLITS = ("train", "test")
KINDS: dict[str, Any] = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "fashion-mnist": datasets.FashionMNIST,
    "stl10": datasets.STL10,
}
PACKED = [name for name in NAMES if hasattr(KINDS[name], "tgz_md5")]
"""Those that are published as one archive."""


@dataclass(frozen=True)
class Written:
    """A dataset on disk, and what was written.

    images: (n, c, h, w) uint8 of each part, as the publisher has them
    files: those that each part is read from
    """

    name: str
    folder: Path
    images: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        return self.folder / DATASETS[self.name].place

    @property
    def kind(self) -> Any:
        return KINDS[self.name]

    def read(self, split: str = "train", *, folder: Path | None = None) -> Split:
        """Load it anew."""
        config = DataConfig(dataset=self.name)
        return DATASETS[self.name].load(config, split=split, folder=folder or self.folder)


def md5(content: bytes) -> str:
    """Return the sum that publishers give."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class OldPickler(pickle._Pickler):
    """Pickle as Python 2 did, where text and bytes were one: so the publishers' files are written."""

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    def save_text(self, text):
        self.save_bytes(text.encode())

    dispatch = pickle._Pickler.dispatch | {str: save_text, bytes: save_bytes}


def write_cifar(written: Written, patch: Callable[..., None]) -> None:
    """Five batches (CIFAR-10) or one (CIFAR-100), a test batch, and the names of the classes."""
    kind, num_classes = written.kind, 10 if written.name == "cifar10" else 100
    label_name = "labels" if written.name == "cifar10" else "fine_labels"

    def write(name: str, content: dict[str, object]) -> tuple[str, str]:
        stream = io.BytesIO()
        OldPickler(stream, protocol=2).dump(content)
        (written.place / name).write_bytes(stream.getvalue())
        return name, md5(stream.getvalue())

    for split, attribute in (("train", "train_list"), ("test", "test_list")):
        names = [name for name, _ in getattr(kind, attribute)]
        images, labels = draw(len(names) * 4, 3, 32, 32, num_classes=num_classes, split=split)
        parts = zip(names, images.flatten(1).split(4), labels.split(4), strict=True)
        content = [
            (name, {"data": rows.numpy(), label_name: part.tolist(), "coarse_labels": [0] * 4})
            for name, rows, part in parts
        ]
        patch(kind, attribute, [list(write(*batch)) for batch in content])
        written.images[split], written.labels[split] = images, labels
        written.files[split] = [written.place / name for name in [*names, kind.meta["filename"]]]
    words = [f"class {number}" for number in range(num_classes)]
    _, sum_of_words = write(kind.meta["filename"], {kind.meta["key"]: words})
    patch(kind, "meta", {**kind.meta, "md5": sum_of_words})


def write_stl10(written: Written, patch: Callable[..., None]) -> None:
    """Pixels column by column, and labels from 1."""
    for split, attribute in (("train", "train_list"), ("test", "test_list")):
        images, labels = draw(4, 3, 96, 96, num_classes=10, split=split)
        contents = [images.transpose(2, 3).numpy().tobytes(), (labels + 1).byte().numpy().tobytes()]
        names = [name for name, _ in getattr(written.kind, attribute)]
        contents += [b"\0" * 3 * 96 * 96] * (len(names) - 2)  # the unlabelled images
        for name, content in zip(names, contents, strict=True):
            (written.place / name).write_bytes(content)
        patch(
            written.kind,
            attribute,
            [[*pair] for pair in zip(names, map(md5, contents), strict=True)],
        )
        written.images[split], written.labels[split] = images, labels
        written.files[split] = [written.place / name for name in names[:2]]


def write_fashion_mnist(written: Written, patch: Callable[..., None]) -> None:
    """Headers of 16 and 8 bytes, and bytes."""
    sums = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = draw(4, 1, 28, 28, num_classes=10, split=split)
        contents = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">4i", 0x803, 4, 28, 28)
            + images.numpy().tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">2i", 0x801, 4)
            + labels.byte().numpy().tobytes(),
        }
        for name, content in contents.items():
            (written.place / name).write_bytes(content)
            sums[name] = md5(content)
        written.images[split], written.labels[split] = images, labels
        written.files[split] = [written.place / name for name in contents]
    patch(downloads, "FASHION_MNIST_MD5", sums)


WRITERS = {
    "cifar10": write_cifar,
    "cifar100": write_cifar,
    "fashion-mnist": write_fashion_mnist,
    "stl10": write_stl10,
}


def draw(*shape: int, num_classes: int, split: str) -> tuple[Tensor, Tensor]:
    """Random images, and labels among which the lowest and the highest are."""
    own = torch.Generator().manual_seed(SPLITS.index(split))
    labels = torch.randint(num_classes, shape[:1], generator=own)
    labels[0], labels[-1] = num_classes - 1, 0
    return torch.randint(256, shape, generator=own, dtype=torch.uint8), labels


@pytest.fixture
def write(tmp_path, monkeypatch) -> Callable[[str], Written]:
    """Write the dataset of a name; until the test ends its sums are the published ones."""

    def write_one(name: str) -> Written:
        written = Written(name=name, folder=tmp_path / "data")
        written.place.mkdir(parents=True)
        WRITERS[name](written, monkeypatch.setattr)
        return written

    return write_one


@pytest.fixture(autouse=True)
def loopback(monkeypatch) -> None:
    """No test reaches beyond this machine: names cannot be looked up, and no proxy is asked."""
    look_up = socket.getaddrinfo

    def look_up_here(host, *rest, **more):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "no network in tests")
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Server(socketserver.ThreadingTCPServer):
    """A server that says nothing of clients who hang up."""

    def handle_error(self, *_):
        pass  # torchvision asks twice, and reads the first answer up to its head


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start servers on loopback: `serve(handler)` returns the address, with a slash at its end."""
    with contextlib.ExitStack() as stack:

        def start(handler: Callable[..., object]) -> str:
            server = Server(("127.0.0.1", 0), handler)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            for end in (server.server_close, thread.join, server.shutdown):
                stack.callback(end)
            return f"http://127.0.0.1:{server.server_address[1]}/"

        yield start


class Files(http.server.SimpleHTTPRequestHandler):
    """Serve a folder in silence."""

    def log_message(self, *_):
        pass


def publish(written: Written, *, patch: Callable[..., None]) -> Path:
    """Pack the files as they are published, into a folder "server"; its sums are the published."""
    server = written.folder.parent / "server"
    server.mkdir()
    kind = written.kind
    if written.name in PACKED:
        with tarfile.open(server / kind.filename, "w:gz") as archive:
            archive.add(written.place, arcname=kind.base_folder)
        patch(kind, "tgz_md5", md5((server / kind.filename).read_bytes()))
    else:
        resources = []
        for file in written.place.iterdir():
            packed = gzip.compress(file.read_bytes())
            (server / f"{file.name}.gz").write_bytes(packed)
            resources.append((f"{file.name}.gz", md5(packed)))
        patch(kind, "resources", resources)
    shutil.rmtree(written.folder)
    return server


def point(written: Written, address: str, *, patch: Callable[..., None]) -> None:
    """Make the dataset's published address one of this machine."""
    if written.name in PACKED:
        patch(written.kind, "url", address + written.kind.filename)
    else:
        patch(written.kind, "mirrors", [address])


def refusal(written: Written, split: str = "train") -> str:
    """The one line that says why the dataset cannot be read."""
    with pytest.raises(InputError) as refused:
        written.read(split)
    return str(refused.value)


def is_whole(written: Written) -> bool:
    """Whether every label can be read back."""
    return all(written.read(split).labels.equal(written.labels[split]) for split in SPLITS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read(write, name, split):
    """Every pixel in its place and channel, and every label, in their order."""
    written = write(name)
    expected = written.images[split]
    if name == "fashion-mnist":
        expected = pad(expected, (2,) * 4).expand(-1, 3, -1, -1)
    found = load_split(DataConfig(dataset=name), split=split, folder=written.folder)
    assert found.images.equal(expected)
    assert found.images.is_contiguous()
    assert found.labels.equal(written.labels[split])
    if name.startswith("cifar"):
        assert found.class_names == tuple(f"class {k}" for k in range(len(found.class_names)))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_keeps_the_laws_of_datasets(write, name):
    """As every dataset does."""
    check_dataset(name, folder=write(name).folder)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_torchvision_reads_the_same(write, name, split):
    """torchvision's own reader, on the same files, gives the same pixels, labels and names."""
    written = write(name)
    found = written.read(split)
    if name == "stl10":
        reference = written.kind(written.folder, split=split)
        pixels, labels = reference.data, reference.labels
    else:
        reference = written.kind(written.folder, train=split == "train")
        pixels, labels = np.asarray(reference.data), np.asarray(reference.targets)
    if name.startswith("cifar"):
        pixels = pixels.transpose(0, 3, 1, 2)
    images = found.images.numpy()
    if name == "fashion-mnist":
        images = images[:, 0, 2:-2, 2:-2]
    assert (images == pixels).all()
    assert found.labels.tolist() == labels.tolist()
    if name != "stl10":  # whose names are read from a file that need not be there
        assert found.class_names == tuple(reference.classes)


def test_names_of_classes_are_the_publishers():
    """STL-10's are written down here: its labels count from 1 in this order."""
    assert downloads.STL10_CLASSES[0] == "airplane"
    assert downloads.STL10_CLASSES[-1] == "truck"
    assert list(downloads.STL10_CLASSES) == sorted(set(downloads.STL10_CLASSES))


def test_fashion_mnist_may_stay_packed(write):
    """Files that end in .gz are read as they are; a packed file beside the unpacked is not looked at."""
    written = write("fashion-mnist")
    for file in list(written.place.iterdir()):
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        if "labels" in file.name:
            packed.write_bytes(b"damaged")
        else:
            file.unlink()
    assert is_whole(written)


def test_unlabelled_images_need_not_be_there(write):
    """Nothing of STL-10's largest part is read."""
    written = write("stl10")
    (written.place / "unlabeled_X.bin").unlink()
    assert is_whole(written)


def damages(content: bytes) -> list[bytes]:
    """One byte changed, behind a header of gzip for one; half of it; nothing; more."""
    places = (0, min(10, len(content) // 2), len(content) // 2, len(content) - 1)
    flipped = [
        content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :] for place in places
    ]
    return [*flipped, content[: len(content) // 2], b"", content + b"x"]


@pytest.mark.parametrize("name", [*NAMES, "packed fashion-mnist"])
def test_damage_is_found_and_named(write, name):
    """One wrong byte anywhere is refused in a line with the file and what to delete."""
    written = write(name.removeprefix("packed "))
    for split in SPLITS:
        for file in written.files[split]:
            content, path, delete = file.read_bytes(), file, file.parent
            if name.startswith("packed"):
                file.unlink()
                path = delete = file.with_name(f"{file.name}.gz")
                content = gzip.compress(content)
            for wrong in damages(content):
                path.write_bytes(wrong)
                line = refusal(written, split)
                assert line.startswith(f"{path} is damaged: its content has MD5 ")
                assert line.endswith(f"; delete {delete} and run again to download it")
            path.write_bytes(content)
    assert is_whole(written)


class Planted:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_nothing_is_unpickled_before_its_sum_is_right(write, name, tmp_path):
    """A pickle is a program: one that is not the publisher's does not run."""
    written = write(name)
    trace = tmp_path / "trace"
    plant = pickle.dumps(Planted(trace))
    for split in SPLITS:
        for file in written.files[split]:
            content = file.read_bytes()
            file.write_bytes(plant)
            assert str(file) in refusal(written, split)
            assert not trace.exists()
            file.write_bytes(content)
    pickle.loads(plant)  # noqa: S301  to see that it would have written
    assert trace.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(write, name):
    """With what to do about it; nothing is downloaded over a folder that is there."""
    written = write(name)
    for split in SPLITS:
        for file in written.files[split]:
            aside = file.rename(file.with_suffix(".aside"))
            assert refusal(written, split) == (
                f"{file} is missing; put it there, or delete {file.parent} to download it all again"
            )
            aside.rename(file)


def wanted(name: str) -> str:
    """What a message says that one could put into the folder."""
    kind = KINDS[name]
    return f"'{kind.base_folder}' or '{kind.filename}'" if name in PACKED else repr(kind.__name__)


@pytest.mark.parametrize("name", NAMES)
def test_without_files_and_network_one_line_says_what_to_do(name, tmp_path, capfd):
    """The folder, what is looked for there, whom one would download from; and nothing is made."""
    folder = tmp_path / "data"
    line = refusal(Written(name=name, folder=folder))
    assert line.startswith(f"{wanted(name)} is not in {folder} and could not be downloaded (no ans")
    assert line.endswith("); put it there, or name the folder that has it")
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def silence(monkeypatch) -> Iterator[dict[str, str]]:
    """Addresses that do not answer: no one listens, or no one speaks, or no one knows the name."""
    monkeypatch.setattr(downloads, "ANSWER_S", 0.2)
    over = threading.Event()
    look_up = socket.getaddrinfo

    def think(host, *rest, **more):
        if host == "unknown.example":
            over.wait()
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", think)
    with socket.socket() as closed, socket.socket() as mute:
        for one in (closed, mute):
            one.bind(("127.0.0.1", 0))
        mute.listen()
        yield {
            "closed": f"http://127.0.0.1:{closed.getsockname()[1]}/",
            "mute": f"http://127.0.0.1:{mute.getsockname()[1]}/",
            "unknown": "http://unknown.example/",
        }
        over.set()


@pytest.mark.parametrize("kind", ["closed", "mute", "unknown"])
@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_a_server_that_does_not_answer_is_given_up(monkeypatch, tmp_path, silence, name, kind):
    """After a few seconds, also where a name is looked up for ever."""
    written = Written(name=name, folder=tmp_path / "data")
    point(written, silence[kind], patch=monkeypatch.setattr)
    host = "unknown.example" if kind == "unknown" else "127.0.0.1"
    assert f"could not be downloaded (no answer from {host}); put" in refusal(written)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_downloaded(write, serve, monkeypatch, name, capfd):
    """Once, with a line that says so, and without leaving anything else behind."""
    written = write(name)
    before = {split: written.read(split) for split in SPLITS}
    server = publish(written, patch=monkeypatch.setattr)
    address = serve(lambda *request: Files(*request, directory=server))
    point(written, address, patch=monkeypatch.setattr)
    for split in SPLITS:
        found = written.read(split)
        assert found.images.equal(before[split].images)
        assert found.labels.equal(before[split].labels)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == f"vitbench: downloading from 127.0.0.1 into {written.folder}\n"
    top = DATASETS[name].place.partition("/")[0]
    assert [path.name for path in written.folder.iterdir()] == [top]


def test_a_folder_without_its_files_is_filled(write, serve, monkeypatch):
    """Where torchvision keeps `raw` beside other things, those stay."""
    written = write("fashion-mnist")
    server = publish(written, patch=monkeypatch.setattr)
    other = written.place.parent / "processed"
    other.mkdir(parents=True)
    point(
        written,
        serve(lambda *request: Files(*request, directory=server)),
        patch=monkeypatch.setattr,
    )
    assert is_whole(written)
    assert other.is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_download_is_refused(write, serve, monkeypatch, name):
    """In one line, and nothing of it is kept."""
    written = write(name)
    server = publish(written, patch=monkeypatch.setattr)
    for file in server.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    point(
        written,
        serve(lambda *request: Files(*request, directory=server)),
        patch=monkeypatch.setattr,
    )
    assert f"{wanted(name)} is not in {written.folder} and could not be downl" in refusal(written)
    assert list(written.folder.iterdir()) == []


class Stalls(Files):
    """Send half of what was promised, and wait."""

    over = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"\0" * 500)
        self.wfile.flush()
        self.over.wait()


def test_a_download_that_stands_still_is_given_up(serve, monkeypatch, tmp_path):
    """And how long other sockets may wait is as before."""
    monkeypatch.setattr(downloads, "STALL_S", 0.2)
    written = Written(name="cifar10", folder=tmp_path / "data")
    point(written, serve(Stalls), patch=monkeypatch.setattr)
    Stalls.over.clear()
    try:
        line = refusal(written)
    finally:
        Stalls.over.set()
    assert "could not be downloaded (timed out); put it there" in line
    assert socket.getdefaulttimeout() is None
    assert list(written.folder.iterdir()) == []


class Refuses(Files):
    """Be there, and have nothing."""

    def do_HEAD(self):
        self.send_error(404)

    def do_GET(self):
        self.do_HEAD()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib's, of errors that are not closed
@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_a_server_that_refuses_is_told(serve, monkeypatch, tmp_path, name):
    """Its answer is the reason that is given."""
    written = Written(name=name, folder=tmp_path / "data")
    point(written, serve(Refuses), patch=monkeypatch.setattr)
    line = refusal(written)
    assert "could not be downloaded (" in line
    assert "no answer" not in line
    gc.collect()


@pytest.mark.parametrize("error", [RuntimeError(), OSError(), RuntimeError("a\nb")], ids=repr)
def test_every_failure_of_a_download_has_a_reason(serve, monkeypatch, tmp_path, error):
    """Its first line, or the name of an error that says nothing."""

    def fail(*_, **__):
        raise error

    written = Written(name="cifar10", folder=tmp_path / "data")
    point(written, serve(Files), patch=monkeypatch.setattr)
    monkeypatch.setattr(downloads, "download_and_extract_archive", fail)
    reason = (str(error) or type(error).__name__).splitlines()[0]
    assert f"could not be downloaded ({reason}); put" in refusal(written)


def test_a_folder_that_cannot_be_written_is_told(serve, monkeypatch, tmp_path):
    """A file in its place, for one."""
    (tmp_path / "data").touch()
    written = Written(name="cifar10", folder=tmp_path / "data")
    point(written, serve(Files), patch=monkeypatch.setattr)
    assert f"could not be downloaded ([Errno {errno.EEXIST}]" in refusal(written)


@pytest.mark.parametrize("name", PACKED)
def test_an_archive_is_unpacked_where_it_lies(write, monkeypatch, name):
    """Without a network, and the archive stays."""
    written = write(name)
    server = publish(written, patch=monkeypatch.setattr)
    server.rename(written.folder)
    assert is_whole(written)
    assert sorted(path.name for path in written.folder.iterdir()) == sorted(
        [written.kind.base_folder, written.kind.filename]
    )


@pytest.mark.parametrize("name", PACKED)
def test_a_damaged_archive_is_not_unpacked(write, monkeypatch, name):
    """It is refused in a line that says to delete it."""
    written = write(name)
    publish(written, patch=monkeypatch.setattr).rename(written.folder)
    archive = written.folder / written.kind.filename
    for wrong in damages(archive.read_bytes()):
        archive.write_bytes(wrong)
        line = refusal(written)
        assert line.startswith(f"{archive} is damaged: its content has MD5 ")
        assert line.endswith(f"; delete {archive} and run again to download it")
        assert list(written.folder.iterdir()) == [archive]


def test_another_process_may_unpack_first(write, monkeypatch):
    """What is there by then is used, and nothing is left over."""
    written = write("cifar10")
    publish(written, patch=monkeypatch.setattr).rename(written.folder)
    extract = downloads.extract_archive

    def extract_twice(archive, scratch):
        extract(archive, scratch)
        extract(archive, written.folder)

    monkeypatch.setattr(downloads, "extract_archive", extract_twice)
    assert is_whole(written)
    assert len(list(written.folder.iterdir())) == 2
