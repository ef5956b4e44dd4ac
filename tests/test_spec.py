import pytest

from vecstore.errors import SpecError
from vecstore.spec import parse


@pytest.mark.parametrize(
    "text",
    ["f32", "pq:m=16", "pca:dim=128+pq:m=16,bits=4", "sq:bits=8,clip=0.001", "normalize:keep=false+pq:m=2"],
)
def test_a_spec_is_the_text_it_was_read_from(text):
    assert str(parse(text)) == text


def test_values_have_the_type_that_they_look_like():
    options = parse("x:a=1,b=0.5,c=true,d=word,e=1e-3").steps[0].options
    assert options == {"a": 1, "b": 0.5, "c": True, "d": "word", "e": 1e-3}
    assert [type(value) for value in options.values()] == [int, float, bool, str, float]


@pytest.mark.parametrize(
    "text", ["", " ", "+", "pq+", "pq:", "pq:m", "pq:m=", "pq:=3", "9pq", "pq:m=1,m=2", "pq:m=1,"]
)
def test_what_cannot_be_read_says_so(text):
    with pytest.raises(SpecError):
        parse(text)
