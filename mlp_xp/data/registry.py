"""The known data sets: their names, classes, files, mirrors and checksums."""

from typing import NamedTuple

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = tuple("0123456789")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class Source(NamedTuple):
    """A published data set."""

    class_names: tuple[str, ...]
    home: str
    """The page where its authors describe it."""
    mirrors: tuple[str, ...]
    """URLs with a slash at the end. Each has all the files. The best comes first."""
    checksums: dict[str, str]
    """The SHA-256 of each file to download."""
    folder: str
    """The name of its folder inside the cache folder."""
    files: tuple[str, ...] = IDX_FILES
    """Training images and labels, test images and labels. They are downloaded, or in
    the folder `gzip` of the archive.
    """
    archive: str | None = None
    """The ZIP archive to download, if it contains the four files."""
    first_label: int = 0
    """The label of the first class."""
    transposed: bool = False
    """Whether the images are stored column by column."""


def _emnist(split: str, class_names: tuple[str, ...], first_label: int = 0) -> Source:
    names = [file.replace("t10k", "test") for file in IDX_FILES]
    return Source(
        class_names=class_names,
        home="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        mirrors=(
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        checksums={
            "gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
        },
        folder="emnist",
        files=tuple(f"emnist-{split}-{name}" for name in names),
        archive="gzip.zip",
        first_label=first_label,
        transposed=True,
    )


def _checksums(*sums: str) -> dict[str, str]:
    return dict(zip(IDX_FILES, sums, strict=True))


# The checksums are from TensorFlow Datasets (tensorflow_datasets/url_checksums).
# MNIST's also match the files in data/mnist.
DATASETS: dict[str, Source] = {
    "mnist": Source(
        class_names=DIGITS,
        home="http://yann.lecun.com/exdb/mnist/",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums=_checksums(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        folder="mnist",
    ),
    "fashion-mnist": Source(
        class_names=_CLOTHES,
        home="https://github.com/zalandoresearch/fashion-mnist",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        checksums=_checksums(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        folder="fashion-mnist",
    ),
    "kmnist": Source(
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        home="https://github.com/rois-codh/kmnist",
        # The only known host, with either scheme.
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        checksums=_checksums(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        folder="kmnist",
    ),
    "emnist-digits": _emnist("digits", DIGITS),
    "emnist-letters": _emnist("letters", _LETTERS, first_label=1),
}
