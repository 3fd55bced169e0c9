import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from headhunt.spaces.configs import BaselineConfig
from headhunt.trainables.models.baselines import fit_baseline

LOGISTIC = BaselineConfig(model="tfidf_lr")
MLP = BaselineConfig(model="tfidf_mlp", hidden=8)
SECRET = "Zyxomètre"  # a word that may be in no message

SIGNS = ("douleur thoracique et troponine élevée", "toux grasse et fièvre", "fracture du poignet")


def corpus(notes=60, classes=2):
    """Notes whose words say their class, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(notes) % classes
    texts = [f"{SIGNS[label]} patient {rng.choice(['stable', 'sorti'])}" for label in labels]
    return texts, labels


@pytest.fixture(params=[LOGISTIC, MLP], ids=lambda c: c.model)
def config(request):
    return request.param


@pytest.mark.parametrize("classes", [2, 3])
def test_a_baseline_learns_words_that_say_the_class(config, classes):
    texts, labels = corpus(classes=classes)

    fitted = fit_baseline(config, texts, labels, seed=0, class_count=classes)
    probabilities = fitted.predict_proba(texts)

    assert probabilities.shape == (60, classes)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (probabilities.argmax(1) == labels).mean() > 0.95


def test_the_same_seed_gives_the_same_probabilities(config):
    texts, labels = corpus()
    seed = 2**63 - 1  # a study's seeds are larger than scikit-learn's

    first, second = (
        fit_baseline(config, texts, labels, seed, 2).predict_proba(texts) for _ in range(2)
    )

    np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_mlp():
    texts, labels = corpus()

    first, second = (
        fit_baseline(MLP, texts, labels, seed, 2).predict_proba(texts) for seed in (0, 1)
    )

    assert not np.array_equal(first, second)


def test_a_class_that_training_lacks_keeps_its_column_at_zero(config):
    texts, labels = corpus()

    probabilities = fit_baseline(config, texts, labels * 2, seed=0, class_count=4).predict_proba(
        texts
    )

    assert probabilities.shape == (60, 4)
    assert (probabilities[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1.0)


def test_unknown_words_empty_notes_and_no_notes_are_predicted(config):
    texts, labels = corpus()
    fitted = fit_baseline(config, texts, labels, seed=0, class_count=2)

    assert fitted.predict_proba(["inconnu", ""]).shape == (2, 2)
    assert fitted.predict_proba([]).shape == (0, 2)


def test_parameters_are_weights_and_intercepts():
    texts, labels = corpus(classes=3)
    logistic = fit_baseline(LOGISTIC, texts, labels, seed=0, class_count=3)
    mlp = fit_baseline(MLP, texts, labels, seed=0, class_count=3)
    terms = len(logistic.vectorizer.vocabulary_)

    assert logistic.parameters == 3 * terms + 3
    assert mlp.parameters == terms * 8 + 8 + 8 * 3 + 3
    assert fit_baseline(LOGISTIC, *corpus(), seed=0, class_count=2).parameters < 3 * terms


def test_terms_are_lower_case_words_and_pairs_in_enough_notes():
    texts, labels = corpus()
    texts[0] += " UNIQUE"

    pairs = fit_baseline(LOGISTIC, texts, labels, seed=0, class_count=2).vectorizer.vocabulary_
    words = fit_baseline(
        replace(LOGISTIC, ngrams=1, min_notes=1), [text.upper() for text in texts], labels, 0, 2
    ).vectorizer.vocabulary_

    assert "troponine élevée" in pairs
    assert "unique" not in pairs
    assert "unique" in words
    assert all(" " not in word for word in words)


@pytest.mark.parametrize(("frequency", "seen"), [(1, True), (3, True), (4, False)])
def test_a_term_counts_where_enough_groups_have_it(config, frequency, seen):
    texts, labels = corpus()
    for place in range(6):  # six notes of three patients
        texts[place] += f" {SECRET}"
    groups = [0, 1, 2, 0, 1, 2, *range(3, 57)]

    fitted = fit_baseline(
        config, texts, labels, seed=0, class_count=2, frequency=frequency, groups=groups
    )

    terms = fitted.vectorizer.vocabulary_
    assert (SECRET.lower() in terms) == seen
    assert "toux" in terms
    assert fitted.predict_proba([SECRET, "toux"]).shape == (2, 2)


def test_a_pair_of_frequent_words_that_few_groups_have_is_no_term():
    texts, labels = corpus()
    for place in range(4):
        texts[place] += " toux troponine"

    fitted = fit_baseline(
        LOGISTIC, texts, labels, 0, 2, frequency=3, groups=[0] * 4 + list(range(1, 57))
    )

    assert "toux troponine" not in fitted.vectorizer.vocabulary_
    assert {"toux", "troponine"} <= set(fitted.vectorizer.vocabulary_)


def test_a_frequency_that_no_term_has_is_refused_without_quoting_a_note():
    texts, labels = corpus()

    with pytest.raises(ValueError, match="notes, and of 99 patients or more") as refused:
        fit_baseline(LOGISTIC, texts, labels, 0, 2, frequency=99, groups=list(range(60)))

    assert "troponine" not in str(refused.value)


def test_the_mlp_sees_the_most_frequent_terms_alone():
    texts, labels = corpus()

    fitted = fit_baseline(replace(MLP, features=5), texts, labels, seed=0, class_count=2)

    assert len(fitted.vectorizer.vocabulary_) == 5


def test_a_handful_of_notes_with_a_class_of_one_is_enough(config):
    texts = ["fièvre", "toux", "fracture"]

    fitted = fit_baseline(config, texts, np.array([0, 0, 1]), seed=0, class_count=2)

    assert np.isfinite(fitted.predict_proba(texts)).all()


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["", " "] * 20, [0, 1] * 20, "no term is in 2 or more of the 40 notes"),
        ([f"{SECRET}{i}" for i in range(40)], [0, 1] * 20, "no term is in 2 or more of the 40"),
        ([SECRET] * 40, [1] * 40, r"two classes or more, .* got classes \[1\] in 40 notes"),
        ([SECRET] * 4, [0, 1, 2, 1], r"below class_count=2; got classes \[0, 1, 2\] in 4"),
        ([SECRET] * 4, [0, 1], r"one label; got 4 notes and labels.shape=\(2,\)"),
    ],
)
def test_notes_that_cannot_be_learned_from_are_refused_without_quoting_them(
    config, texts, labels, message
):
    with pytest.raises(ValueError, match=message) as refused:
        fit_baseline(config, texts, np.array(labels), seed=0, class_count=2)

    assert SECRET.lower() not in str(refused.value).lower()
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_unknown_baseline_is_refused():
    texts, labels = corpus()

    with pytest.raises(ValueError, match=r"tfidf_lr or tfidf_mlp; got config\.model='svm'"):
        fit_baseline(replace(LOGISTIC, model="svm"), texts, labels, seed=0, class_count=2)


def test_a_fit_that_does_not_converge_warns_nobody(config, monkeypatch):
    for limit in ("MAX_ITERATIONS", "MLP_EPOCHS", "MLP_STEPS"):
        monkeypatch.setattr(f"headhunt.trainables.models.baselines.{limit}", 1)
    texts, labels = corpus()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_baseline(config, texts, labels, seed=0, class_count=2)


def test_a_fit_writes_nothing_to_standard_error(config):
    program = (
        "import numpy as np\n"
        "from headhunt.spaces.configs import BaselineConfig\n"
        "from headhunt.trainables.models.baselines import fit_baseline\n"
        f"fit_baseline(BaselineConfig(model={config.model!r}), ['oui toux', 'non rien'] * 6,\n"
        "             np.arange(12) % 2, 0, 2).predict_proba(['toux'])\n"
    )

    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], capture_output=True, check=True
    )

    assert ran.stderr == b""
