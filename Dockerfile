# Serves a project: docker build -t sterling . && docker run -p 8000:8000 -v $PWD/demo:/project sterling
FROM python:3.13-slim AS build
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN python -m venv /opt/sterling && /opt/sterling/bin/pip install --no-cache-dir '/source[postgres,s3,valkey]'

FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 sterling
COPY --from=build /opt/sterling /opt/sterling
ENV PATH=/opt/sterling/bin:$PATH PYTHONUNBUFFERED=1 STERLING_ACTOR=service:serve STERLING_ATTESTOR=production
USER sterling
WORKDIR /project
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=2s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
ENTRYPOINT ["sterling", "serve"]
# Keys lie in the project; anybody may ask only where --without-keys is said instead.
CMD ["--host", "0.0.0.0", "--keys", "keys.json", "--drain", "5"]
