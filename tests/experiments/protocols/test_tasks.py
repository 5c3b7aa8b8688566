"""Each stream's promise, on invented and on real images."""

import dataclasses
import os
from pathlib import Path

import chex
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from experiments.data import SOURCES, Dataset, load_dataset
from experiments.errors import UserError
from experiments.protocols import tasks
from experiments.protocols.streams import STREAMS
from experiments.protocols.tasks import Size, passes


def invented(classes, each, tests=2, shape=(2, 3, 2)):
    """No two images are alike, nor two pixels of one; classes are of one size."""
    train, test = classes * each, classes * tests
    source = dataclasses.replace(SOURCES["digits"], shape=shape, classes=classes)
    pixels = np.arange(np.prod(shape)).reshape(shape)
    images = np.arange(train + test)[:, None, None, None] + pixels
    assert images.max() < 256
    labels = np.random.default_rng(3).permutation(np.arange(train) % classes)
    return Dataset(
        source,
        images[:train].astype(np.uint8),
        labels.astype(np.int32),
        images[train:].astype(np.uint8),
        (np.arange(test) % classes).astype(np.int32),
    )


def many(classes, each):
    """As many images as a published set has, of one pixel."""
    source = dataclasses.replace(SOURCES["digits"], shape=(1, 1, 1), classes=classes)
    images = np.zeros((classes * each, 1, 1, 1), np.uint8)
    labels = (np.arange(classes * each) % classes).astype(np.int32)
    return Dataset(source, images, labels, images[:classes], labels[:classes])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Loads a real set, decoded into a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_dataset


def on_real(*names):
    """A case for each set, run only where it is."""
    root = Path(os.environ.get("TFDS_DATA_DIR", ""))
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(
                name,
                marks=pytest.mark.skipif(
                    name != "digits" and not (root / name).is_dir(),
                    reason=f"needs {name} in TFDS_DATA_DIR",
                ),
            )
            for name in names
        ],
    )


SEEDS = st.integers(0, 2**32 - 4)
quickly = settings(deadline=None, max_examples=25)


def rows_of(dataset, images):
    """Which training images these are."""
    found = {image.tobytes(): i for i, image in enumerate(dataset.train_images)}
    return np.array([found[image.tobytes()] for image in images])


def check_task(task, dataset, size):
    """Shapes and types as documented, and each example once a pass at most."""
    assert task.inputs.dtype == dataset.train_images.dtype
    assert task.inputs.shape[1:] == dataset.train_images.shape[1:]
    assert task.targets.dtype == np.int32
    chex.assert_shape(task.targets, (len(task.inputs),))
    check_order(task.order, len(task.inputs), size)


def check_order(order, examples, size):
    """Whole passes."""
    batches = examples // size.batch
    assert order.dtype == np.int32
    chex.assert_shape(order, (size.epochs * batches, size.batch))
    for one in order.reshape(size.epochs, -1):
        assert len(set(one)) == batches * size.batch  # None twice.
        assert set(one) <= set(range(examples))


def check_random_labels(dataset, size, seed, count=3):
    """The same images, whose true labels are shuffled in every task."""
    drawn = [tasks.random_labels(dataset, size, seed, k + 1) for k in range(count)]
    chosen = rows_of(dataset, drawn[0].inputs)
    true = dataset.train_labels[chosen]
    assert len(set(chosen)) == size.images
    for task in drawn:
        check_task(task, dataset, size)
        assert task.scored
        assert task.test_inputs is task.test_targets is task.classes is None
        np.testing.assert_array_equal(task.inputs, drawn[0].inputs)
        np.testing.assert_array_equal(np.sort(task.targets), np.sort(true))
    if len(chosen) >= 40:  # Of fewer, two shufflings may be alike.
        labellings = {task.targets.tobytes() for task in drawn} | {true.tobytes()}
        assert len(labellings) == count + 1
        assert len({task.order.tobytes() for task in drawn}) == count


@given(
    classes=st.integers(2, 7),
    images=st.integers(4, 98),
    batch=st.integers(1, 4),
    epochs=st.integers(1, 3),
    seed=SEEDS,
)
@quickly
def test_random_labels(classes, images, batch, epochs, seed):
    size = Size(min(images, 14 * classes), batch, epochs)
    check_random_labels(invented(classes, 14), size, seed)


@on_real("digits", "cifar100", "tiny_imagenet")
def test_random_labels_of_real_images(name, real):
    check_random_labels(real(name), Size(400, 16, 2), 0)


def by_places(images):
    """What each place holds in all images and channels, in no order."""
    pixels = images.reshape(len(images), -1, images.shape[-1])
    return sorted(place.tobytes() for place in pixels.transpose(1, 0, 2))


def check_permuted_inputs(dataset, size, seed, count=3):
    """Other images; all pixels, channels together, move as in each other image."""
    drawn = [tasks.permuted_inputs(dataset, size, seed, k + 1) for k in range(count)]

    def key(image):
        return np.sort(image.reshape(-1, image.shape[-1]), axis=0).tobytes()

    keys = [key(image) for image in dataset.train_images]
    there = {k: i for i, k in enumerate(keys)}
    subsets = []
    for number, task in enumerate(drawn, 1):
        check_task(task, dataset, size)
        assert task.scored
        assert task.test_inputs is task.test_targets is task.classes is None
        assert len(task.inputs) == size.images
        found = np.array([there[key(image)] for image in task.inputs])
        subsets.append(tuple(sorted(found)))
        alone = np.array([keys.count(keys[i]) == 1 for i in found])
        assert alone.mean() > 0.9
        originals = dataset.train_images[found[alone]]
        np.testing.assert_array_equal(
            task.targets[alone], dataset.train_labels[found[alone]]
        )
        assert by_places(task.inputs[alone]) == by_places(originals)
        moved = (task.inputs[alone] != originals).any()
        assert moved == (number > 1)
    return drawn, subsets


@given(images=st.integers(4, 40), batch=st.integers(1, 4), seed=SEEDS)
@quickly
def test_permuted_inputs(images, batch, seed):
    check_permuted_inputs(
        invented(5, 12, shape=(4, 4, 3)), Size(images, batch, 2), seed
    )


@on_real("digits", "cifar100")
def test_permuted_inputs_of_real_images(name, real):
    drawn, subsets = check_permuted_inputs(real(name), Size(300, 16, 1), 0)
    assert len(set(subsets)) == 3
    # The second and the third task's permutations differ: an image of both shows it.
    (both, *_) = set(subsets[1]) & set(subsets[2])
    dataset = real(name)
    image = dataset.train_images[both]
    second, third = (
        next(x for x in task.inputs if (np.sort(x, None) == np.sort(image, None)).all())
        for task in drawn[1:]
    )
    assert (second != third).any()


def check_five_plus_one(dataset, size, seed, count):
    """Five classes, one class, in turn; all images of them, none seen before."""
    drawn = [tasks.five_plus_one(dataset, size, seed, k + 1) for k in range(count)]
    used = []
    for number, task in enumerate(drawn, 1):
        classes = sorted(set(task.targets))
        hard = number % 2 == 1
        assert len(classes) == (5 if hard else 1)
        assert task.scored == hard
        assert task.test_inputs is task.test_targets is task.classes is None
        assert task.inputs.dtype == np.uint8
        assert task.targets.dtype == np.int32
        chosen = rows_of(dataset, task.inputs)
        np.testing.assert_array_equal(
            chosen, np.flatnonzero(np.isin(dataset.train_labels, classes))
        )
        np.testing.assert_array_equal(task.targets, dataset.train_labels[chosen])
        used += classes
        # As many steps for one class: passes follow each other until then.
        each = len(dataset.train_labels) // dataset.source.classes
        steps = size.epochs * (5 * each // size.batch)
        chex.assert_shape(task.order, (steps, size.batch))
        assert task.order.dtype == np.int32
        batches = len(task.inputs) // size.batch
        for start in range(0, steps, batches):
            one = task.order[start : start + batches].ravel()
            assert len(set(one)) == len(one)
            assert set(one) <= set(range(len(task.inputs)))
    assert len(set(used)) == len(used)


@given(
    each=st.integers(3, 6),
    batch=st.integers(1, 3),
    epochs=st.integers(1, 3),
    seed=SEEDS,
)
@quickly
def test_five_plus_one(each, batch, epochs, seed):
    check_five_plus_one(invented(17, each), Size(None, batch, epochs), seed, 5)


@on_real("cifar100")
def test_five_plus_one_of_real_images(name, real):
    check_five_plus_one(real(name), Size(None, 32, 2), 0, 32)


def check_class_pairs(dataset, size, seed, count):
    """Disjoint pairs until all classes are used; their own tests."""
    drawn = [tasks.class_pairs(dataset, size, seed, k + 1) for k in range(count)]
    pairs = []
    training = {image.tobytes() for image in dataset.train_images}
    tests = {
        image.tobytes(): label
        for image, label in zip(dataset.test_images, dataset.test_labels, strict=True)
    }
    for task in drawn:
        check_task(task, dataset, size)
        assert task.scored
        assert task.classes is None
        labels = dataset.train_labels[rows_of(dataset, task.inputs)]
        first, second = (set(labels[task.targets == k]) for k in (0, 1))
        assert len(first) == len(second) == 1
        assert (task.targets == 0).sum() == (task.targets == 1).sum()
        pair = (*first, *second)
        pairs.append(pair)
        assert len(labels) == np.isin(dataset.train_labels, pair).sum()
        assert task.test_targets.dtype == np.int32
        assert len(task.test_targets) == np.isin(dataset.test_labels, pair).sum()
        for image, label in zip(task.test_inputs, task.test_targets, strict=True):
            assert image.tobytes() not in training
            assert tests[image.tobytes()] == pair[label]
    rounds = dataset.source.classes // 2
    for start in range(0, count, rounds):
        used = [k for pair in pairs[start : start + rounds] for k in pair]
        assert len(set(used)) == len(used)
    return [set(pair) for pair in pairs]


@given(
    classes=st.integers(2, 9),
    each=st.integers(2, 6),
    batch=st.integers(1, 4),
    seed=SEEDS,
)
@quickly
def test_class_pairs(classes, each, batch, seed):
    dataset = invented(classes, each)
    check_class_pairs(dataset, Size(None, batch, 2), seed, 3 * (classes // 2))


def test_classes_are_paired_anew():
    size = Size(None, 2, 1)
    pairs = check_class_pairs(invented(30, 2), size, 0, 30)
    first, second = pairs[:15], pairs[15:]
    assert [pair for pair in first if pair not in second]


@on_real("tiny_imagenet")
def test_class_pairs_of_real_images(name, real):
    dataset = real(name)
    # An image may be in both splits of the public set: leave those tests out.
    training = {image.tobytes() for image in dataset.train_images}
    new = np.array([x.tobytes() not in training for x in dataset.test_images])
    assert new.mean() > 0.99
    dataset = dataclasses.replace(
        dataset,
        test_images=dataset.test_images[new],
        test_labels=dataset.test_labels[new],
    )
    check_class_pairs(dataset, Size(None, 20, 2), 0, 5)


def check_class_incremental(dataset, size, seed, count):
    """Five more classes, and all images of those seen."""
    before, shapes = set(), set()
    for number in range(1, count + 1):
        task = tasks.class_incremental(dataset, size, seed, number)
        assert task.scored
        assert task.classes.dtype == np.bool_
        chex.assert_shape(task.classes, (dataset.source.classes,))
        seen = set(np.flatnonzero(task.classes))
        assert len(seen) == 5 * number
        assert before < seen
        before = seen
        rows = rows_of(dataset, task.inputs)
        assert sorted(rows) == list(range(len(dataset.train_labels)))
        np.testing.assert_array_equal(task.targets, dataset.train_labels[rows])
        there = (task.order >= 0).all(axis=1)
        assert (task.order[~there] == -1).all()
        assert not (np.diff(there.astype(int)) > 0).any()  # Gaps come last.
        own = np.isin(task.targets, list(seen))
        assert own[: task.examples].all()
        assert not own[task.examples :].any()
        check_order(task.order[there], task.examples, size)
        shapes.add(task.order.shape)
        assert set(task.test_targets) == seen
        assert len(task.test_targets) == np.isin(dataset.test_labels, list(seen)).sum()
        labels = {
            image.tobytes(): label
            for image, label in zip(
                dataset.test_images, dataset.test_labels, strict=True
            )
        }
        for image, label in zip(task.test_inputs, task.test_targets, strict=True):
            assert labels[image.tobytes()] == label
    assert len(shapes) == 1  # One program for all tasks.


@given(
    each=st.integers(2, 8),
    batch=st.integers(1, 10),
    epochs=st.integers(1, 3),
    seed=SEEDS,
)
@quickly
def test_class_incremental(each, batch, epochs, seed):
    check_class_incremental(invented(16, each), Size(None, batch, epochs), seed, 3)


@on_real("digits", "cifar100")
def test_class_incremental_of_real_images(name, real):
    count = real(name).source.classes // 5
    check_class_incremental(real(name), Size(None, 50, 1), 0, count)


def threshold_network(bits, weights, outputs):
    """What the target network says, in plain Python.

    A unit is on if its weights, times bits and a one, come to 0.7 · 21 less the
    number of its negative weights.
    """
    inputs, total = [*bits, 1], outputs[-1]
    for unit in range(100):
        column = [row[unit] for row in weights]
        drive = sum(w * x for w, x in zip(column, inputs, strict=True))
        if drive >= 0.7 * 21 - sum(1 for w in column if w < 0):
            total += outputs[unit]
    return total


@given(
    images=st.integers(1, 30),
    batch=st.integers(1, 4),
    epochs=st.integers(1, 2),
    seed=SEEDS,
    task=st.integers(1, 300),
)
@quickly
def test_slowly_changing_regression(images, batch, epochs, seed, task):
    bits = load_dataset("bits")
    size = Size(max(images, batch), batch, epochs)
    now, later = (
        tasks.slowly_changing_regression(bits, size, seed, k) for k in (task, task + 1)
    )
    generator = np.random.default_rng((seed, 0))
    weights = generator.choice([-1.0, 1.0], (21, 100)).tolist()
    outputs = generator.choice([-1.0, 1.0], 101).tolist()
    for drawn in (now, later):
        chex.assert_shape(drawn.inputs, (size.images, 20, 1, 1))
        chex.assert_shape(drawn.targets, (size.images, 1))
        assert drawn.inputs.dtype == drawn.targets.dtype == np.float32
        assert set(drawn.inputs.ravel()) <= {0.0, 1.0}
        slow = drawn.inputs[:, :15]
        np.testing.assert_array_equal(slow, np.broadcast_to(slow[:1], slow.shape))
        check_order(drawn.order, size.images, size)
        for x, target in zip(drawn.inputs[:3], drawn.targets, strict=False):
            expected = threshold_network(x.ravel().tolist(), weights, outputs)
            assert target == [expected]
    assert (now.inputs[0, :15] != later.inputs[0, :15]).sum() == 1


def test_the_last_bits_vary_and_say_something():
    bits, size = load_dataset("bits"), Size(200, 1, 1)
    task = tasks.slowly_changing_regression(bits, size, 0, 1)
    fast = task.inputs[:, 15:, 0, 0]
    assert ((fast.mean(axis=0) > 0.3) & (fast.mean(axis=0) < 0.7)).all()
    assert len(set(task.targets.ravel())) > 2
    later = tasks.slowly_changing_regression(bits, size, 0, 40)
    assert set(later.targets.ravel()) != set(task.targets.ravel())


SETS = {
    "random-labels": (invented(5, 12), Size(50, 4, 2)),
    "permuted-inputs": (invented(5, 12), Size(50, 4, 2)),
    "five-plus-one": (invented(24, 4), Size(None, 4, 2)),
    "class-pairs": (invented(24, 8), Size(None, 4, 3)),
    "class-incremental": (invented(24, 4), Size(None, 4, 2)),
    "slowly-changing-regression": (load_dataset("bits"), Size(20, 4, 1)),
}


@pytest.mark.parametrize("name", STREAMS)
@given(seed=SEEDS, task=st.integers(1, 4))
@quickly
def test_a_seed_has_one_sequence_and_no_other_seed_has_it(name, seed, task):
    """The sequence hangs on seed and task alone, and not on what was drawn before."""
    dataset, size = SETS[name]
    draw = STREAMS[name].draw
    first = draw(dataset, size, seed, task)
    other = draw(dataset, size, seed + 1, task)
    again = draw(dataset, size, seed, task)
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not all(map(np.array_equal, first, other))


@pytest.mark.parametrize(
    ("name", "set_name", "dataset", "steps", "count", "batch"),
    [
        ("random-labels", "mnist", many(10, 130), 30_000, 50, 16),
        ("random-labels", "cifar10", many(10, 130), 30_000, 50, 16),
        ("permuted-inputs", "mnist", many(10, 1100), 625, 500, 16),
        ("five-plus-one", "cifar100", many(100, 500), 780, 30, 32),
        # TinyImageNet has 500 images a class, where the published stream has 600.
        ("class-pairs", "tiny_imagenet", many(200, 500), 100, 500, 100),
        ("class-pairs", "tiny_imagenet", many(200, 600), 120, 500, 100),
        ("slowly-changing-regression", "bits", load_dataset("bits"), 10_000, 300, 1),
    ],
)
def test_published_lengths(name, set_name, dataset, steps, count, batch):
    length = STREAMS[name].published[set_name]
    task = STREAMS[name].draw(dataset, length.size, 0, 2)
    chex.assert_shape(task.order, (steps, batch))
    assert length.tasks == count


def test_class_incremental_has_its_published_length():
    """Its 111 000 steps of the last task are counted by a hundredth."""
    size, count, _ = STREAMS["class-incremental"].published["cifar100"]
    assert (size, count) == (Size(None, 90, 200), 20)
    for task, images in ((1, 2500), (20, 50_000)):
        drawn = tasks.class_incremental(
            many(100, 500), size._replace(epochs=2), 0, task
        )
        assert (drawn.order[:, 0] >= 0).sum() == 2 * (images // 90)


@given(
    examples=st.integers(1, 40),
    batch=st.integers(1, 9),
    epochs=st.integers(1, 3),
    steps=st.none() | st.integers(1, 30),
    seed=SEEDS,
)
@quickly
def test_passes(examples, batch, epochs, steps, seed):
    size, generator = Size(None, batch, epochs), np.random.default_rng(seed)
    if examples < batch:
        with pytest.raises(UserError) as error:
            passes(examples, size, generator, steps)
        assert str(error.value) == (
            f"a task has {examples} images, fewer than the batch of {batch}"
        )
        return
    order = passes(examples, size, generator, steps)
    batches = examples // batch
    assert order.dtype == np.int32
    chex.assert_shape(order, (epochs * batches if steps is None else steps, batch))
    for start in range(0, len(order), batches):
        one = order[start : start + batches].ravel()
        assert len(set(one)) == len(one)
        assert set(one) <= set(range(examples))


@pytest.mark.parametrize("name", ["random-labels", "permuted-inputs"])
def test_more_images_than_there_are_get_one_line(name):
    with pytest.raises(UserError) as error:
        STREAMS[name].draw(invented(5, 12), Size(61, 4, 1), 0, 1)
    assert str(error.value) == (
        "a task is to have 61 images, but the training set has 60: give a smaller"
        " --train-images"
    )
