/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbackup/types.h - the enumerations of the field, with the numbers of rule book section 1.7.
 *
 * Numbers are part of stored documents and of the plug-in ABI: they are only ever appended.
 */
#ifndef VBACKUP_TYPES_H
#define VBACKUP_TYPES_H

#ifdef __cplusplus
extern "C" {
#endif

/* What the writer's data are for.  Undefined is a writer error. */
enum vb_usage {
    VB_USAGE_UNDEFINED = 0,
    VB_USAGE_BOOTABLE_SYSTEM_STATE = 1,
    VB_USAGE_SYSTEM_SERVICE = 2,
    VB_USAGE_USER_DATA = 3,
    VB_USAGE_OTHER = 4
};

enum vb_source {
    VB_SOURCE_UNDEFINED = 0,
    VB_SOURCE_TRANSACTED_DB = 1,
    VB_SOURCE_NON_TRANSACTED_DB = 2,
    VB_SOURCE_OTHER = 3
};

enum vb_component_type { VB_COMPONENT_UNDEFINED = 0, VB_COMPONENT_DATABASE = 1, VB_COMPONENT_FILEGROUP = 2 };

/* How the files of all components of a writer are put back (section 3.4). */
enum vb_restore_method {
    VB_RESTORE_UNDEFINED = 0,
    VB_RESTORE_IF_NOT_THERE = 1,
    VB_RESTORE_IF_CAN_REPLACE = 2,
    VB_RESTORE_STOP_RESTORE_START = 3,
    VB_RESTORE_TO_ALTERNATE = 4,
    VB_RESTORE_AT_REBOOT = 5,
    VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE = 6,
    VB_RESTORE_CUSTOM = 7,
    VB_RESTORE_RESTORE_STOP_START = 8
};

/* When the writer takes part in a restore. */
enum vb_writer_restore {
    VB_WRITER_RESTORE_UNDEFINED = 0,
    VB_WRITER_RESTORE_NEVER = 1,
    VB_WRITER_RESTORE_IF_REPLACE_FAILS = 2,
    VB_WRITER_RESTORE_ALWAYS = 3
};

/* Set by a writer in PreRestore; beats the method. */
enum vb_restore_target {
    VB_TARGET_UNDEFINED = 0,
    VB_TARGET_ORIGINAL = 1, /* = follow the restore method */
    VB_TARGET_ALTERNATE = 2,
    VB_TARGET_DIRECTED = 3,
    VB_TARGET_ORIGINAL_LOCATION = 4 /* force the original place */
};

enum vb_file_restore_status {
    VB_FILE_RESTORE_UNDEFINED = 0,
    VB_FILE_RESTORE_NONE = 1,  /* nothing was written */
    VB_FILE_RESTORE_ALL = 2,
    VB_FILE_RESTORE_FAILED = 3 /* partly written, data bad */
};

/* Component flags, bits. */
enum {
    VB_CF_BACKUP_RECOVERY = 1,   /* writer needs write access to the snapshot after creation */
    VB_CF_ROLLBACK_RECOVERY = 2, /* the same, only for roll-back snapshots */
    VB_CF_NOT_SYSTEM_STATE = 4
};

enum vb_backup_type {
    VB_BACKUP_UNDEFINED = 0,
    VB_BACKUP_FULL = 1,
    VB_BACKUP_INCREMENTAL = 2,
    VB_BACKUP_DIFFERENTIAL = 3,
    VB_BACKUP_LOG = 4,
    VB_BACKUP_COPY = 5,
    VB_BACKUP_OTHER = 6
};

enum vb_restore_type { VB_RESTORE_TYPE_UNDEFINED = 0, VB_RESTORE_TYPE_BY_COPY = 1, VB_RESTORE_TYPE_IMPORT = 2,
                       VB_RESTORE_TYPE_OTHER = 3 };

enum vb_rollforward { VB_ROLLFORWARD_UNDEFINED = 0, VB_ROLLFORWARD_NONE = 1, VB_ROLLFORWARD_ALL = 2,
                      VB_ROLLFORWARD_PARTIAL = 3 };

/* Backup schema of a writer, bits; 0 = full only. */
enum {
    VB_SCHEMA_DIFFERENTIAL = 0x1,
    VB_SCHEMA_INCREMENTAL = 0x2,
    VB_SCHEMA_EXCLUSIVE_INC_DIFF = 0x4,
    VB_SCHEMA_LOG = 0x8,
    VB_SCHEMA_COPY = 0x10,
    VB_SCHEMA_TIMESTAMPED = 0x20,
    VB_SCHEMA_LAST_MODIFY = 0x40,
    VB_SCHEMA_NEW_TARGET = 0x100,
    VB_SCHEMA_RESTORE_WITH_MOVE = 0x200,
    VB_SCHEMA_INDEPENDENT_SYSTEM_STATE = 0x400,
    VB_SCHEMA_ROLLFORWARD = 0x1000,
    VB_SCHEMA_RESTORE_RENAME = 0x2000,
    VB_SCHEMA_AUTHORITATIVE = 0x4000,
    VB_SCHEMA_PARALLEL_RESTORES = 0x8000
};

/* File-spec backup type, bits; default VB_FSB_DEFAULT. */
enum {
    VB_FSB_FULL_BACKUP = 0x1,
    VB_FSB_DIFFERENTIAL_BACKUP = 0x2,
    VB_FSB_INCREMENTAL_BACKUP = 0x4,
    VB_FSB_LOG_BACKUP = 0x8,
    VB_FSB_FULL_SNAPSHOT = 0x100,
    VB_FSB_DIFFERENTIAL_SNAPSHOT = 0x200,
    VB_FSB_INCREMENTAL_SNAPSHOT = 0x400,
    VB_FSB_LOG_SNAPSHOT = 0x800,
    VB_FSB_CREATED_DURING_BACKUP = 0x10000,
    VB_FSB_ALL_BACKUP = 0xF,
    VB_FSB_ALL_SNAPSHOT = 0xF00,
    VB_FSB_DEFAULT = 0xF0F
};

/* Who freezes before whom: front end, then back end, then system (B-37, W-8). */
enum vb_level {
    VB_LEVEL_UNKNOWN = 0,
    VB_LEVEL_SYSTEM = 1,
    VB_LEVEL_BACK_END = 2,
    VB_LEVEL_FRONT_END = 3,
    VB_LEVEL_SYSTEM_RM = 4,
    VB_LEVEL_AUTO = -1
};

/* State of a writer inside a session (section 2.1). */
enum vb_writer_state {
    VB_WS_UNKNOWN = 0,
    VB_WS_STABLE = 1,
    VB_WS_WAITING_FOR_FREEZE = 2,
    VB_WS_WAITING_FOR_THAW = 3,
    VB_WS_WAITING_FOR_POST_SNAPSHOT = 4,
    VB_WS_WAITING_FOR_BACKUP_COMPLETE = 5,
    VB_WS_FAILED_AT_IDENTIFY = 6,
    VB_WS_FAILED_AT_PREPARE_BACKUP = 7,
    VB_WS_FAILED_AT_PREPARE_SNAPSHOT = 8,
    VB_WS_FAILED_AT_FREEZE = 9,
    VB_WS_FAILED_AT_THAW = 10,
    VB_WS_FAILED_AT_POST_SNAPSHOT = 11,
    VB_WS_FAILED_AT_BACKUP_COMPLETE = 12,
    VB_WS_FAILED_AT_PRE_RESTORE = 13,
    VB_WS_FAILED_AT_POST_RESTORE = 14,
    VB_WS_FAILED_AT_BACKUP_SHUTDOWN = 15
};

enum vb_snapshot_state {
    VB_SS_UNKNOWN = 0,
    VB_SS_PREPARING = 1,
    VB_SS_PROCESSING_PREPARE = 2,
    VB_SS_PREPARED = 3,
    VB_SS_PROCESSING_PRECOMMIT = 4,
    VB_SS_PRECOMMITTED = 5,
    VB_SS_PROCESSING_COMMIT = 6,
    VB_SS_COMMITTED = 7,
    VB_SS_PROCESSING_POSTCOMMIT = 8,
    VB_SS_PROCESSING_PREFINALCOMMIT = 9,
    VB_SS_PREFINALCOMMITTED = 10,
    VB_SS_PROCESSING_POSTFINALCOMMIT = 11,
    VB_SS_CREATED = 12,
    VB_SS_ABORTED = 13,
    VB_SS_DELETED = 14,
    VB_SS_POSTCOMMITTED = 15
};

enum vb_provider_type { VB_PROVIDER_UNKNOWN = 0, VB_PROVIDER_SYSTEM = 1, VB_PROVIDER_SOFTWARE = 2,
                        VB_PROVIDER_HARDWARE = 3, VB_PROVIDER_FILE_SHARE = 4 };

/* Snapshot attributes, bits. */
enum {
    VB_SA_PERSISTENT = 0x1,
    VB_SA_NO_AUTORECOVERY = 0x2,
    VB_SA_CLIENT_ACCESSIBLE = 0x4,
    VB_SA_NO_AUTO_RELEASE = 0x8,
    VB_SA_NO_WRITERS = 0x10,
    VB_SA_TRANSPORTABLE = 0x20,
    VB_SA_NOT_SURFACED = 0x40,
    VB_SA_DIFFERENTIAL = 0x20000,
    VB_SA_PLEX = 0x40000,
    VB_SA_IMPORTED = 0x80000,
    VB_SA_EXPOSED_LOCALLY = 0x100000,
    VB_SA_EXPOSED_REMOTELY = 0x200000,
    VB_SA_AUTORECOVER = 0x400000,
    VB_SA_ROLLBACK_RECOVERY = 0x800000,
    VB_SA_DELAYED_POSTSNAPSHOT = 0x1000000,
    VB_SA_FILE_SHARE = 0x4000000
};

/* Contexts are combinations of attributes (S-3). */
enum {
    VB_CTX_BACKUP = 0,
    VB_CTX_FILE_SHARE_BACKUP = 0x10,
    VB_CTX_APP_ROLLBACK = 0x9,
    VB_CTX_NAS_ROLLBACK = 0x19,
    VB_CTX_CLIENT_ACCESSIBLE_WRITERS = 0xD,
    VB_CTX_CLIENT_ACCESSIBLE = 0x1D
};

/* How consistent the captured data of a component really are (house plan, idea 6): the level that was
 * reached, never the one that was hoped for. */
enum vb_consistency {
    VB_CONSISTENCY_UNKNOWN = 0,
    VB_CONSISTENCY_NONE = 1,        /* read live, file by file, while it could change */
    VB_CONSISTENCY_CRASH = 2,       /* one instant, as after a power cut; no writer held */
    VB_CONSISTENCY_FILE_SYSTEM = 3, /* one instant, file system flushed and frozen */
    VB_CONSISTENCY_APPLICATION = 4, /* the writer held and its session was whole from freeze to thaw */
    VB_CONSISTENCY_GROUP = 5        /* application level on every host of a group, by the rules of section 5.4 */
};

enum vb_completeness { VB_COMPLETENESS_UNKNOWN = 0, VB_COMPLETE = 1, VB_PARTIAL = 2, VB_FAILED = 3 };

#define VB_MAX_VOLUMES 64          /* volumes in one shadow copy set (B-23) */
#define VB_MAX_PRIVATE_DATA 1048576 /* bytes of backup or restore metadata of one component */
#define VB_DEFAULT_FREEZE_MS 60000 /* freeze to thaw, per writer (section 2.3) */
#define VB_HOLD_WRITES_MS 10000    /* flush and hold of writes, hard (section 2.3) */

/*
 * Words of the enumerations as they stand in documents, JSON and messages ("USER_DATA",
 * "RESTORE_IF_CAN_BE_REPLACED", "waiting for thaw", "application"); static strings, "unknown" for a number
 * out of range.  The *_from_ functions return the undefined/unknown member for a word they do not know.
 */
const char *vb_usage_word(enum vb_usage v);
enum vb_usage vb_usage_from_word(const char *s);
const char *vb_source_word(enum vb_source v);
enum vb_source vb_source_from_word(const char *s);
const char *vb_component_type_word(enum vb_component_type v);
enum vb_component_type vb_component_type_from_word(const char *s);
const char *vb_restore_method_word(enum vb_restore_method v);
enum vb_restore_method vb_restore_method_from_word(const char *s);
const char *vb_writer_restore_word(enum vb_writer_restore v);
enum vb_writer_restore vb_writer_restore_from_word(const char *s);
const char *vb_restore_target_word(enum vb_restore_target v);
enum vb_restore_target vb_restore_target_from_word(const char *s);
const char *vb_file_restore_status_word(enum vb_file_restore_status v);
enum vb_file_restore_status vb_file_restore_status_from_word(const char *s);
const char *vb_backup_type_word(enum vb_backup_type v);
enum vb_backup_type vb_backup_type_from_word(const char *s);
const char *vb_restore_type_word(enum vb_restore_type v);
enum vb_restore_type vb_restore_type_from_word(const char *s);
const char *vb_rollforward_word(enum vb_rollforward v);
enum vb_rollforward vb_rollforward_from_word(const char *s);
const char *vb_level_word(enum vb_level v);
enum vb_level vb_level_from_word(const char *s);
const char *vb_writer_state_word(enum vb_writer_state v);
enum vb_writer_state vb_writer_state_from_word(const char *s);
const char *vb_snapshot_state_word(enum vb_snapshot_state v);
enum vb_snapshot_state vb_snapshot_state_from_word(const char *s);
const char *vb_consistency_word(enum vb_consistency v);
enum vb_consistency vb_consistency_from_word(const char *s);
const char *vb_completeness_word(enum vb_completeness v);
enum vb_completeness vb_completeness_from_word(const char *s);

#ifdef __cplusplus
}
#endif
#endif
