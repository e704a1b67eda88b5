#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_cli_files.py LANNER FOLDER: the man page and the completions of bash, zsh and fish, made of what `LANNER --help` and
the help of each command say."""

import gzip
import os
import re
import subprocess
import sys


def help_of(lanner, *command):
    return subprocess.run([lanner, *command, "--help"], capture_output=True, text=True, check=True).stdout


def subcommands(text):
    """Names and descriptions under a heading of commands."""
    part = re.search(r"^(?:Sub)?[Cc]ommands:\n((?:[ \t]+\S.*\n|\n)+)", text, re.M)
    return re.findall(r"^ {2}([a-z][a-z-]*) +(\S.*)$", part.group(1), re.M) if part else []


def commands(lanner):
    """[(words, description, help text)] of every command that runs something."""
    found = []
    for name, description in subcommands(help_of(lanner)):
        text = help_of(lanner, name)
        inner = subcommands(text)
        if inner:
            found += [((name, part), what, help_of(lanner, name, part)) for part, what in inner]
        else:
            found.append(((name,), description, text))
    return found


def options(text):
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text.split("Examples:")[0])))


def roff(text):
    return "\n".join(("\\&" if line.startswith((".", "'")) else "") + line.replace("\\", "\\e").replace("-", "\\-")
                     for line in text.splitlines())


def man_page(lanner, all_commands):
    version = subprocess.run([lanner, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    page = [f'.TH LANNER 1 "" "lanner {version}" "User Commands"', ".SH NAME",
            "lanner \\- run and serve large language models on CPUs", ".SH SYNOPSIS"]
    page += [f".B lanner {roff(' '.join(words))}\n[options]\n.br" for words, _, _ in all_commands]
    page += [".SH DESCRIPTION", ".nf", roff(help_of(lanner)), ".fi"]
    for words, _, text in all_commands:
        page += [f'.SH "{" ".join(words).upper()}"', ".nf", roff(text), ".fi"]
    return "\n".join(page) + "\n"


def bash(all_commands):
    first = sorted({words[0] for words, _, _ in all_commands})
    lines = ["# bash completion of lanner", "_lanner() {", '  local cur=${COMP_WORDS[COMP_CWORD]} words="" key="${COMP_WORDS[1]}"',
             f'  if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(first)} --help --version"', "  else"]
    groups = sorted({words[0] for words, _, _ in all_commands if len(words) > 1})
    lines += [f'    case $key in {"|".join(groups)}) key="$key ${{COMP_WORDS[2]}}" ;; esac'] if groups else []
    lines.append("    case $key in")
    for words, _, text in all_commands:
        lines.append(f'      "{" ".join(words)}") words="{" ".join(options(text))}" ;;')
    for group in groups:
        parts = [words[1] for words, _, _ in all_commands if words[0] == group]
        lines.append(f'      "{group} "*) [ "$COMP_CWORD" = 2 ] && words="{" ".join(parts)}" ;;')
    lines += ["    esac", "  fi", '  case $cur in', '    -*|"") COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;',
              '    *) COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur")) ;;', "  esac", "}",
              "complete -o filenames -o bashdefault -F _lanner lanner", ""]
    return "\n".join(lines)


def zsh(all_commands):
    lines = ["#compdef lanner", "local -a names", 'local key="${words[2]}"', "if (( CURRENT == 2 )); then", "  names=("]
    seen = set()
    for words, description, _ in all_commands:
        if words[0] not in seen:
            what = description if len(words) == 1 else "see lanner " + words[0] + " --help"
            lines.append("    '" + words[0] + ":" + what.replace("'", "").replace(":", " ") + "'")
            seen.add(words[0])
    lines += ["  )", "  _describe command names", "  return", "fi", "case $key in"]
    for group in sorted({words[0] for words, _, _ in all_commands if len(words) > 1}):
        parts = " ".join(words[1] for words, _, _ in all_commands if words[0] == group)
        lines.append(f"  {group}) if (( CURRENT == 3 )); then compadd {parts}; return; fi; key=\"$key ${{words[3]}}\" ;;")
    lines += ["esac", "case $key in"]
    lines += [f"  '{' '.join(words)}') compadd -- {' '.join(options(text))} ;;" for words, _, text in all_commands]
    return "\n".join(lines + ["esac", "_files", ""])


def fish(all_commands):
    lines = ["# fish completion of lanner"]
    seen = set()
    for words, description, text in all_commands:
        if words[0] not in seen:
            lines.append(f"complete -c lanner -n __fish_use_subcommand -a {words[0]} -d '{description.replace(chr(39), '')}'")
            seen.add(words[0])
        if len(words) > 1:
            lines.append(f"complete -c lanner -n '__fish_seen_subcommand_from {words[0]}' -a {words[1]}")
        condition = " and ".join(f"__fish_seen_subcommand_from {word}" for word in words).replace(" and ", "; and ")
        lines += [f"complete -c lanner -n '{condition}' -l {option[2:]}" for option in options(text)]
    return "\n".join(lines) + "\n"


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def main():
    lanner, folder = sys.argv[1:]
    all_commands = commands(lanner)
    if len(all_commands) < 5:
        sys.exit(f"make_cli_files: `{lanner} --help` names only {len(all_commands)} commands")
    # Without a time inside, so that two builds are equal.
    write(folder + "/man/lanner.1.gz", gzip.compress(man_page(lanner, all_commands).encode(), mtime=0))
    write(folder + "/bash/lanner", bash(all_commands).encode())
    write(folder + "/zsh/_lanner", zsh(all_commands).encode())
    write(folder + "/fish/lanner.fish", fish(all_commands).encode())


if __name__ == "__main__":
    main()
