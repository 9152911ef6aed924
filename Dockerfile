# syntax=docker/dockerfile:1
# obskit watch. Build: docker build -t obskit .    Run: docs/operate.md
# Debian, not Alpine: google-re2 has no musl wheel.

FROM python:3.13-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY obskit ./obskit
COPY collectors ./collectors
COPY alert_rules ./alert_rules
COPY dashboards ./dashboards
RUN python -m build --wheel --outdir /wheels \
 && python -m venv /opt/obskit \
 && for wheel in /wheels/*.whl; do /opt/obskit/bin/pip install --no-cache-dir "${wheel}[watch,dns-srv]"; done \
 && /opt/obskit/bin/obskit --version

FROM python:3.13-slim
# Where the environment was built is where it runs: its scripts name their interpreter by path.
COPY --from=build /opt/obskit /opt/obskit
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin obskit \
 && mkdir /data /etc/obskit \
 && chown obskit:obskit /data
ENV PATH=/opt/obskit/bin:$PATH \
    OBSKIT_CONFIG=/etc/obskit/obskit.yaml \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
# The store: `store: {path: /data}` in obskit.yaml. Nothing else is written, so the root may be read-only.
VOLUME /data
WORKDIR /data
# To be reached from outside the container: `web: {listen: "0.0.0.0:9797", token: "${OBSKIT_TOKEN}"}`.
EXPOSE 9797
# Inside, loopback is always right: /healthz needs no token.
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9797/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["obskit"]
CMD ["watch", "--plain"]
