# One image for all services. The command of a container names its service.
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
# Remove files that no service needs: the installers, and the parts of Arrow other than Parquet. The last line fails if a
# service needs one of them.
RUN cd /opt/exchange/lib/python3*/site-packages \
    && rm -rf pip pip-* setuptools setuptools-* pkg_resources /opt/exchange/bin/pip* plotly/labextension pyarrow/include \
        pyarrow/tests pyarrow/src pyarrow/*flight* pyarrow/*_s3* pyarrow/_gcsfs* pyarrow/_azurefs* pyarrow/_pyarrow_cpp_tests* \
    && find . -name "*.pyx" -o -name "*.pxd" -o -name "*.pxi" | xargs rm -f \
    && /opt/exchange/bin/python -c "import pyarrow.parquet, plotly.io, market_data_feed.service, exchange_launcher.cli"

FROM python:3.12-slim
LABEL org.opencontainers.image.title="microexchange" \
      org.opencontainers.image.description="A complete stock exchange." \
      org.opencontainers.image.version="0.1.0"
# Bubblewrap and libseccomp confine the bots of a competition.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap libseccomp2 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin exchange \
    && install -d -o exchange -g exchange -m 700 /data /secrets /results
COPY --from=build /opt/exchange /opt/exchange
ENV PATH=/opt/exchange/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MX_DATA_DIR=/data MX_SECRETS_DIR=/secrets
USER exchange
CMD ["microexchange", "--help"]
