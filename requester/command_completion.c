/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup completion: scripts for the shells, made from the table of verbs so that they cannot go stale. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "requester/cli.h"

static void print_words(void)
{
    for (size_t i = 0; vb_verbs[i]; i++) {
        const char *space = strchr(vb_verbs[i]->name, ' ');
        bool seen = false;
        size_t n = space ? (size_t)(space - vb_verbs[i]->name) : strlen(vb_verbs[i]->name);
        for (size_t k = 0; k < i; k++)
            if (strncmp(vb_verbs[k]->name, vb_verbs[i]->name, n) == 0 &&
                (vb_verbs[k]->name[n] == ' ' || vb_verbs[k]->name[n] == '\0'))
                seen = true;
        if (!seen)
            printf("%s%.*s", i ? " " : "", (int)n, vb_verbs[i]->name);
    }
}

static const char common[] = "--repo --config --json --quiet --verbose --help";

static int bash(void)
{
    printf("# bash completion for vbackup; made by 'vbackup completion bash'\n"
           "_vbackup() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W '");
    print_words();
    printf("' -- \"$cur\"))\n        return\n    fi\n    case \"$verb ${COMP_WORDS[2]}\" in\n");
    for (int two = 1; two >= 0; two--) /* the two-word verbs first: their patterns are narrower */
        for (size_t i = 0; vb_verbs[i]; i++) {
            if ((strchr(vb_verbs[i]->name, ' ') != NULL) != (two == 1))
                continue;
            printf("    \"%s%s) words='%s", vb_verbs[i]->name, two ? "\"" : " \"*", common);
            for (const struct vb_opt *o = vb_verbs[i]->opts; o && o->name; o++)
                printf(" --%s", o->name);
            for (size_t k = 0; !two && vb_verbs[k]; k++) {
                size_t n = strlen(vb_verbs[i]->name);
                if (strncmp(vb_verbs[k]->name, vb_verbs[i]->name, n) == 0 && vb_verbs[k]->name[n] == ' ')
                    printf(" %s", vb_verbs[k]->name + n + 1);
            }
            printf("' ;;\n");
        }
    for (size_t i = 0; vb_verbs[i]; i++) { /* groups without a verb of their own: "host list" */
        const char *space = strchr(vb_verbs[i]->name, ' ');
        if (space)
            printf("    \"%.*s \"*) words=\"$words %s\" ;;\n", (int)(space - vb_verbs[i]->name), vb_verbs[i]->name,
                   space + 1);
    }
    printf("    esac\n"
           "    case \"$cur\" in\n"
           "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
           "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\") $(compgen -f -- \"$cur\")) ;;\n"
           "    esac\n"
           "}\n"
           "complete -o filenames -F _vbackup vbackup\n");
    return VB_EXIT_DONE;
}

static int zsh(void)
{
    printf("#compdef vbackup\n# zsh completion for vbackup; made by 'vbackup completion zsh'\n"
           "_vbackup() {\n    local -a verbs\n    if (( CURRENT == 2 )); then\n        verbs=(\n");
    for (size_t i = 0; vb_verbs[i]; i++)
        if (!strchr(vb_verbs[i]->name, ' '))
            printf("            '%s:%s'\n", vb_verbs[i]->name, vb_verbs[i]->summary);
    printf("            'host:the host table'\n            'plan:what a run would do'\n        )\n"
           "        _describe 'verb' verbs\n        return\n    fi\n    case \"$words[2]\" in\n");
    for (size_t i = 0; vb_verbs[i]; i++) {
        if (strchr(vb_verbs[i]->name, ' '))
            continue;
        printf("    %s) _arguments '*:file:_files'", vb_verbs[i]->name);
        for (const struct vb_opt *o = vb_verbs[i]->opts; o && o->name; o++)
            printf(" '--%s[%s]%s%s'", o->name, o->help, o->arg ? ":" : "", o->arg ? o->arg : "");
        printf(" ;;\n");
    }
    printf("    *) _files ;;\n    esac\n}\n_vbackup \"$@\"\n");
    return VB_EXIT_DONE;
}

static int fish(void)
{
    printf("# fish completion for vbackup; made by 'vbackup completion fish'\n");
    for (size_t i = 0; vb_verbs[i]; i++) {
        size_t n = strcspn(vb_verbs[i]->name, " ");
        printf("complete -c vbackup -n __fish_use_subcommand -a '%.*s' -d \"%s\"\n", (int)n, vb_verbs[i]->name,
               vb_verbs[i]->summary);
        for (const struct vb_opt *o = vb_verbs[i]->opts; o && o->name; o++)
            printf("complete -c vbackup -n '__fish_seen_subcommand_from %.*s' -l %s%s -d \"%s\"\n", (int)n,
                   vb_verbs[i]->name, o->name, o->arg ? " -r" : "", o->help);
    }
    return VB_EXIT_DONE;
}

static int run(struct vb_cli *cli)
{
    if (strcmp(cli->argv[0], "bash") == 0)
        return bash();
    if (strcmp(cli->argv[0], "zsh") == 0)
        return zsh();
    if (strcmp(cli->argv[0], "fish") == 0)
        return fish();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_fail(&err, VB_E_USAGE, "no completion for '%s', only for bash, zsh and fish", cli->argv[0]);
    return vb_cli_fail(cli, &err);
}

static const struct vb_opt opts[] = { { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_completion = { "completion", "bash|zsh|fish", "print a completion script for a shell", opts, 1,
                                            1, run };
