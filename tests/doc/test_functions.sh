#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# doc/replication-functions.md: what it names as counterpart is declared and exported, and each test that it names exists.
. "${abs_top_srcdir:?}/tests/tap.sh"
cd "$abs_top_srcdir" || bail "no source tree"
table=doc/replication-functions.md

undeclared=
while read -r f; do
    grep -qE "\b$f(\(|\b)" include/vbackup/*.h replica/*.h || undeclared="$undeclared $f"
    case $f in
    vb_place_* | vb_ext_*) ;;
    *) grep -qx "$f" requester/libvbackup.sym || undeclared="$undeclared $f(not exported)" ;;
    esac
done < <(grep -oE '`vb_[a-z_]+`' "$table" | tr -d '`' | sort -u)
is "every counterpart is declared and exported; not" "$undeclared" ""

tests=0
missing=
while IFS= read -r line; do
    file=
    # the names of tests follow their file, in double quotes
    while IFS= read -r word; do
        case $word in
        '`tests/'*)
            file=${word//\`/}
            [ -f "$file" ] || missing="$missing $file"
            ;;
        '"'*)
            tests=$((tests + 1))
            word=${word#\"}
            grep -qF -- "${word%\"}" "${file:-/dev/null}" || missing="$missing $file:$word"
            ;;
        esac
    done < <(printf '%s\n' "$line" | grep -oE '`tests/[^`]*`|"[^"]*"')
done < <(grep '^| ' "$table")
is "every named test exists; missing" "$missing" ""
ok "there are many of them: $tests" test "$tests" -gt 90

is "rows of the behaviour table" "$(sed -n '/^## Behaviour/,$p' "$table" | grep -c '^| [0-9]')" 45
unnamed=
while read -r f; do
    grep -qF "$f" "$table" || unnamed="$unnamed $f"
done <<END
GetSignature
Serialize
Propagate
DeSerialize
Propagate2
Synchronize
UpdateState
GetLastError
ImportFolderChange
ImportFolderDeletion
ImportMessageChange
ImportMessageDeletion
ImportPerUserReadStateChange
ImportMessageMove
NetReplGetInfo
NetReplSetInfo
NetReplExportDirAdd
NetReplExportDirDel
NetReplExportDirEnum
NetReplExportDirGetInfo
NetReplExportDirSetInfo
NetReplExportDirLock
NetReplExportDirUnlock
NetReplImportDirAdd
NetReplImportDirDel
NetReplImportDirEnum
NetReplImportDirGetInfo
NetReplImportDirLock
NetReplImportDirUnlock
GetChangeBatch
GetFilteredChangeBatch
GetItemBatchVersions
CleanupDeletedItems
GetFullEnumerationChangeBatch
GetFullEnumerationItemBatchVersions
ProcessChangeBatch
ProcessFullEnumerationChangeBatch
ForgetToVersion
MarkAllItemsUnreported
ReportLiveItemById
ReportLiveItemByIndexedField
FindUnreportedItems
END
is "every function of the old systems is in it; missing" "$unnamed" ""
done_testing
