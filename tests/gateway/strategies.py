"""Bodies that a server could answer with: garbage, any JSON, and near misses of real answers."""

import json

from hypothesis import strategies as st

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "success": st.sampled_from([True, False, "true", 1, None]),
        "data": st.fixed_dictionaries({}, optional={"msgId": st.integers() | json_values}) | json_values,
        "message": st.sampled_from(["session is not connected", "account protection", "subscription", "", None, 7])
        | st.text(max_size=40),
        "errors": json_values,
        "retry_after": json_values,
    },
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    near_misses.map(lambda value: json.dumps(value).encode()),
)
