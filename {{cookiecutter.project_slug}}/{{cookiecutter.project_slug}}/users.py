"""The table of the users: add your own columns, and run ``make revision m="what changed"``."""
# mypy: disable-error-code="assignment"
# UserMixin declares other types than those of columns.

from datetime import UTC, datetime

from flask_security import AsaList, UserMixin
from sqlalchemy import String
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import Mapped, mapped_column

from .core.database import Base, UTCDateTime


class User(UserMixin, Base):
    """Somebody with an account."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password: Mapped[str] = mapped_column(String(255))  # its hash
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=lambda: datetime.now(UTC))
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # the address
    # In each session, token and link: a new value ends them all.
    fs_uniquifier: Mapped[str] = mapped_column(String(64), unique=True)

    # The second factor; secret and codes are encrypted with ACCOUNTS_KEY.
    tf_primary_method: Mapped[str | None] = mapped_column(String(64))
    tf_totp_secret: Mapped[str | None] = mapped_column(String(255))
    tf_last_counter: Mapped[int | None]
    mf_recovery_codes: Mapped[list[str] | None] = mapped_column(MutableList.as_mutable(AsaList()))

    # Flask-Security reads and sets these, but nothing here uses them.
    roles = []
    tf_phone_number = None
