import pytest

from pknet.utp import UtpConfig, UtpEndpoint


def test_the_defaults_stand() -> None:
    config = UtpConfig()
    assert (config.max_datagram, config.max_datagram_ipv6) == (1402, 1232)
    assert config.receive_buffer is config.send_buffer is None
    assert (config.ledbat_target, config.peer_timeout, config.keepalive) == (0.1, 30, 29)
    assert config.accept
    assert config.ack_delay == 0
    assert not config.nagle


@pytest.mark.parametrize("accept", [True, False])
def test_an_endpoint_has_its_settings(accept: bool) -> None:
    config = UtpConfig(accept=accept)
    endpoint = UtpEndpoint(bytes, config)
    assert endpoint.config is config
    assert endpoint.accepting is accept


@pytest.mark.parametrize(
    "values",
    [
        {"max_datagram": 149},
        {"max_datagram": 65508},
        {"max_datagram_ipv6": 149},
        {"receive_buffer": 1401},
        {"receive_buffer": (32 << 20) + 1},
        {"send_buffer": 0},
        {"buffer_growth": -1},
        {"min_timeout": 2.0},
        {"initial_timeout": 61.0},
        {"min_timeout": 0.0},
        {"max_timeout": float("nan")},
        {"ledbat_target": 0.0},
        {"connect_timeout": -1.0},
        {"half_open_timeout": 0.0},
        {"peer_timeout": float("inf")},
        {"keepalive": 0.0},
        {"idle_timeout": 0.0},
        {"ack_delay": -0.001},
        {"ack_delay": 0.501},
        {"ack_delay": float("nan")},
        {"keepalive": 1e-300},
        {"keepalive": float("nan")},
        {"max_connections": 0},
        {"max_half_open": 0},
        {"max_resets_per_second": -1},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values)).removesuffix("_ipv6") + "|limits"):
        UtpConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ledbat_target", "connect_timeout", "peer_timeout", "keepalive"])
def test_what_is_no_time_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a number of seconds, not 'x'"):
        UtpConfig(**{name: "x"})  # type: ignore[arg-type]


def test_a_setting_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match=r"UtpConfig\(\) got an unexpected keyword argument 'colour'"):
        UtpConfig(colour=1)  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        UtpConfig().max_datagram = 100  # type: ignore[misc]
