"""The shapes of the gateway's own answers, for the API's document."""

from rest_framework import serializers


class CheckAnswer(serializers.Serializer[object]):
    """What one health check found."""

    status = serializers.ChoiceField(choices=["ok", "degraded", "down"])
    latency_ms = serializers.FloatField()
    detail = serializers.CharField()


class HealthAnswer(serializers.Serializer[object]):
    """How the platform is doing."""

    status = serializers.ChoiceField(choices=["ok", "degraded", "down"])
    version = serializers.CharField()
    checks = serializers.DictField(child=CheckAnswer())


class BulkheadAnswer(serializers.Serializer[object]):
    """How busy a service is."""

    size = serializers.IntegerField()
    active = serializers.IntegerField()
    queued = serializers.IntegerField()
    utilization = serializers.FloatField()


class ServiceAnswer(serializers.Serializer[object]):
    """One service behind the gateway."""

    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=["local", "remote"])
    url = serializers.URLField()
    healthy = serializers.BooleanField()
    breaker = serializers.ChoiceField(
        choices=["closed", "open", "half_open", "forced_open", "disabled"]
    )
    bulkhead = BulkheadAnswer()
    routes = serializers.ListField(child=serializers.CharField())


class DiscoveryAnswer(serializers.Serializer[object]):
    """All services behind the gateway."""

    data = ServiceAnswer(many=True)  # type: ignore[assignment]
