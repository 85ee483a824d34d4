"""Errors that look like those of libraries which need not be installed for it: by their classes' names and packages."""

import sys

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def lookalike(name, *args, bases=(Exception,), **attributes):
    """An error of the class `name`, given with its package, that was made with `args` and has `attributes`."""
    package, _, name = name.rpartition(".")
    error = type(name, bases, {"__module__": package})(*args)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


class Hostile(Exception):
    """Its own code fails, whatever is asked of it."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("str")

    def __bool__(self):
        raise RuntimeError("bool")


def itself():
    return Hostile()


def in_a_text():
    return ValueError(Hostile())


def as_the_cause():
    error = RuntimeError()
    error.__cause__ = Hostile()
    return error


def in_a_group():
    return ExceptionGroup("", [Hostile()])


def in_a_lost_race():
    return lookalike("redis.exceptions.WatchError", Hostile())


def in_a_broken_constraint():
    return lookalike("sqlite3.IntegrityError", Hostile())


def in_a_locked_database():
    return lookalike("sqlite3.OperationalError", Hostile())


def in_a_status():
    return lookalike("grpc.RpcError", code=lambda: 1 / 0)


def in_its_class():
    return type("Liar", (Exception,), {"__class__": property(lambda self: 1 / 0)})()


HOSTILE = (
    itself,
    in_a_text,
    as_the_cause,
    in_a_group,
    in_a_lost_race,
    in_a_broken_constraint,
    in_a_locked_database,
    in_a_status,
    in_its_class,
)
