#!/bin/sh
# Checks what the set-up cannot bring along: Java 17 or newer, found as Spark finds it, and Python 3.10 or newer.
# Says in one line what is missing and how to get it, and exits with 1.
set -u

python=${PYTHON:-python3}

fail() {
    echo "error: $*" >&2
    exit 1
}

case $(uname -s) in
    Darwin)
        get_java="Install it with: brew install openjdk@17, then export JAVA_HOME=\"\$(brew --prefix openjdk@17)\""
        get_python="Install it with: brew install python" ;;
    *)
        if command -v dnf >/dev/null 2>&1; then
            get_java="Install it with: sudo dnf install java-17-openjdk-headless"
            get_python="Install it with: sudo dnf install python3.11, then run: make PYTHON=python3.11 ..."
        else
            get_java="Install it with: sudo apt-get install openjdk-17-jre-headless (Debian, Ubuntu)"
            get_python="Install it with: sudo apt-get install python3 python3-venv (Debian, Ubuntu)"
        fi ;;
esac

# Spark runs JAVA_HOME/bin/java where JAVA_HOME is set, and only otherwise the java on PATH.
if [ -n "${JAVA_HOME:-}" ]; then
    java=$JAVA_HOME/bin/java
    [ -x "$java" ] || fail "JAVA_HOME is $JAVA_HOME, but there is no bin/java in it. Spark needs Java 17 or newer: correct JAVA_HOME, or unset it. $get_java"
else
    java=$(command -v java) || fail "Java was not found. Spark needs Java 17 or newer. $get_java"
fi

# The first line reads like: openjdk version "17.0.15" 2025-04-15; Java 8 calls itself "1.8.0_392".
version=$("$java" -version 2>&1 | sed -n 's/.* version "\([^"]*\)".*/\1/p' | head -n 1)
[ -n "$version" ] || fail "$java does not run. Spark needs Java 17 or newer. $get_java"
major=${version#1.}
major=${major%%[!0-9]*}
[ "${major:-0}" -ge 17 ] || fail "$java is Java $version, but Spark needs Java 17 or newer. $get_java"

command -v "$python" >/dev/null 2>&1 || fail "$python was not found. Python 3.10 or newer is needed. $get_python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python is $("$python" --version 2>&1), but Python 3.10 or newer is needed. $get_python"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments. $get_python"

echo "Java $version ($java), $("$python" --version 2>&1)"
