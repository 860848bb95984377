# One image for every service; what a container runs is its command.
FROM python:3.12-slim AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY common common
COPY db db
COPY order-entry-gateway order-entry-gateway
COPY matching-engine matching-engine
COPY clearinghouse clearinghouse
COPY market-data-feed market-data-feed
COPY trading-bots trading-bots
COPY launcher launcher
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv /opt/exchange && /opt/exchange/bin/pip install .

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin exchange \
    && install -d -o exchange -g exchange -m 700 /data /secrets
COPY --from=build /opt/exchange /opt/exchange
ENV PATH=/opt/exchange/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MX_DATA_DIR=/data MX_SECRETS_DIR=/secrets
USER exchange
CMD ["microexchange", "--help"]
