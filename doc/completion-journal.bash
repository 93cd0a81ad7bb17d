# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for vbackup-journal(8)
_vbackup_journal() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words="run status --socket --records --json --version --help"
    case $prev in
    --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --records) return ;;
    esac
    [[ $cur == -* || ! " ${COMP_WORDS[*]} " =~ " run " ]] || { mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return; }
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _vbackup_journal vbackup-journal
