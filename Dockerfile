# The image of the API and the worker. Nothing is resolved at build time: the lock names every package and its hash.
FROM python:3.13-slim
WORKDIR /counterfoil
COPY requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY domain domain
COPY commands commands
COPY projections projections
COPY adapters adapters
COPY api api
COPY contracts contracts
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && useradd --create-home counterfoil
USER counterfoil
CMD ["counterfoil", "serve", "--no-worker"]
