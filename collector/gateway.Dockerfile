# otel-posthog gateway: docker build -t otel-posthog-gateway -f collector/gateway.Dockerfile .
FROM python:3.13-slim
COPY . /src
RUN pip install --no-cache-dir '/src[gateway,postgresql]' && rm -r /src && useradd --no-create-home gateway
USER gateway
ENTRYPOINT ["otel-posthog", "gateway", "--host", "0.0.0.0"]
