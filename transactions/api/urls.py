"""The addresses of the ledger, below `/api/`."""

from django.urls import path

from transactions.api import accounts, batches, events, statements, story, transactions

urlpatterns = [
    path("accounts", accounts.AccountsView.as_view(), name="accounts"),
    path("accounts/<str:account>", accounts.AccountView.as_view(), name="account"),
    path("accounts/<str:account>/entries", accounts.EntriesView.as_view(), name="entries"),
    path(
        "accounts/<str:account>/statement",
        statements.StatementView.as_view(),
        name="statement",
    ),
    path("accounts/<str:account>/freeze", accounts.FreezeView.as_view(), name="freeze"),
    path("accounts/<str:account>/unfreeze", accounts.UnfreezeView.as_view(), name="unfreeze"),
    path("accounts/<str:account>/close", accounts.CloseView.as_view(), name="close"),
    path("transactions", transactions.TransactionsView.as_view(), name="transactions"),
    path("transactions/batch", batches.BatchView.as_view(), name="batch"),
    path(
        "transactions/<str:transaction>",
        transactions.TransactionView.as_view(),
        name="transaction",
    ),
    path(
        "transactions/<str:transaction>/capture",
        transactions.CaptureView.as_view(),
        name="capture",
    ),
    path("transactions/<str:transaction>/void", transactions.VoidView.as_view(), name="void"),
    path(
        "transactions/<str:transaction>/reverse",
        transactions.ReverseView.as_view(),
        name="reverse",
    ),
    path("transactions/<str:transaction>/events", story.StoryView.as_view(), name="story"),
    path("events", events.EventsView.as_view(), name="events"),
    path("events/tree-head", events.TreeHeadView.as_view(), name="tree-head"),
    path("events/export", events.ExportView.as_view(), name="export"),
    path("events/<str:event>/proof", events.ProofView.as_view(), name="proof"),
    path("events/<str:event>", events.EventView.as_view(), name="event"),
]
