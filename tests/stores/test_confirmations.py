"""What confirms a study is a study of its own, under the other one's name."""

import pytest

from headhunt.search.study import Study
from headhunt.stores import StoreError, StudyError, confirmation_of

from ..search.toys import MANIFEST, begin, finish, scratch


def create(store, name):
    return Study.create(store, name, {**MANIFEST, "study": name})


def test_it_is_beside_the_study_that_it_confirms_and_apart_from_it(store):
    searched, confirming = create(store, "lab"), create(store, confirmation_of("lab"))
    finish(confirming, begin(confirming, scratch(0.1)), 0.5)
    create(store, "lab-2").close()

    assert searched.folder != confirming.folder
    assert searched.work == confirming.work
    assert searched.own_name != confirming.own_name
    for study in (searched, confirming):
        assert study.folder.is_dir()
        assert study.folder.stat().st_mode & 0o777 == 0o700
        study.close()
    assert store.names() == ["lab", "lab/confirm", "lab-2"]
    assert [len(store.read(name).trials) for name in ("lab", "lab/confirm")] == [0, 1]
    again = Study.open(store, "lab/confirm")
    assert len(again.trials) == 1
    again.close()


def test_it_is_held_by_itself(store):
    create(store, "lab").close()
    study = create(store, "lab/confirm")

    assert (bool(store.holder("lab/confirm")), store.holder("lab")) == (True, "")
    with pytest.raises(StudyError, match="'lab/confirm' is being searched by"):
        Study.open(store, "lab/confirm")
    study.close()


@pytest.mark.parametrize(
    "name", ["lab/other", "/confirm", "a/b/confirm", "../confirm", "lab/confirm/"]
)
def test_no_other_name_has_a_slash(store, name):
    with pytest.raises(StoreError, match="a study's name becomes a folder"):
        create(store, name)
    with pytest.raises(StoreError, match="no study"):
        store.read(name)


def test_nothing_is_written_below_a_link_in_the_place_of_the_study(tmp_path):
    outside, store = tmp_path / "outside", tmp_path / "store"
    outside.mkdir()
    store.mkdir()
    (store / "lab").symlink_to(outside)

    with pytest.raises(StoreError, match="it is a symbolic link"):
        create(store, "lab/confirm")

    assert list(outside.iterdir()) == []
