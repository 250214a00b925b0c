# The tag names one patch release of Python and one release of Debian. It can still be rebuilt under the same name:
# where that matters, pin the digest that your registry shows for it (FROM ...@sha256:...), in both stages.
FROM python:3.13.16-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml LICENSE README.md ./
COPY requirements/runtime.lock requirements/
COPY image/install.sh image/
COPY operator/ operator/
RUN image/install.sh /opt/venv

# Nothing here runs a shell: files are copied, and the entry point is no shell's. A base without one will do that has the
# same Python at the same path (/usr/local/bin), where the virtual environment looks for it.
FROM python:3.13.16-slim-bookworm
# No bytecode is written, so the root file system can be read-only; pip has compiled the packages already.
# Kopf asks for a user's name, which a bare number has not got: without USER the operator would not start.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    USER=nodeport-access
COPY --from=build /opt/venv /opt/venv
# A number, so that runAsNonRoot can be checked without the image's /etc/passwd.
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-m", "nodeport_access"]
CMD ["run"]
