"""Add words.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("notes") as table:
        table.add_column(sa.Column("words", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Revert the change."""
    with op.batch_alter_table("notes") as table:
        table.drop_column("words")
