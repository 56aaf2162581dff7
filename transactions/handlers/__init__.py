"""One function a command: load what it needs, let the domain decide, record what was decided."""

from collections.abc import Mapping

from eventstore.bus import Handler
from eventstore.messages import Command
from transactions.domain import commands
from transactions.handlers import accounts, batches, movements

HANDLERS: Mapping[type[Command], Handler] = {
    commands.OpenAccount: accounts.open_account,
    commands.ChangeAccount: accounts.change_account,
    commands.FreezeAccount: accounts.freeze_account,
    commands.UnfreezeAccount: accounts.unfreeze_account,
    commands.CloseAccount: accounts.close_account,
    commands.RedactAccount: accounts.redact_account,
    commands.CreateTransaction: movements.create_transaction,
    commands.CaptureHold: movements.capture_hold,
    commands.VoidHold: movements.void_hold,
    commands.ExpireHold: movements.expire_hold,
    commands.ReverseTransaction: movements.reverse_transaction,
    commands.RedactTransaction: movements.redact_transaction,
    commands.CreateBatch: batches.create_batch,
}
