#!/bin/sh
# Runs once, when the mysql volume is empty: the two users that are not root.
# clipwatch: the recorder; reads, writes and migrates its own database, and nothing else.
# grafana:   reads that database, and nothing else.
# Written for sh and bash, run or sourced: the image does one or the other, by the file's mode.

clipwatch_sql_text() {
    # one SQL string: backslashes and quotes doubled, so that any password works
    printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"
}

clipwatch_users() {
    : "${CLIPWATCH_PASSWORD:?is not set}" "${GRAFANA_PASSWORD:?is not set}" "${MYSQL_DATABASE:?is not set}"
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --user=root --default-character-set=utf8mb4 <<SQL
CREATE USER 'clipwatch'@'%' IDENTIFIED BY $(clipwatch_sql_text "$CLIPWATCH_PASSWORD");
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES
   ON \`$MYSQL_DATABASE\`.* TO 'clipwatch'@'%';
CREATE USER 'grafana'@'%' IDENTIFIED BY $(clipwatch_sql_text "$GRAFANA_PASSWORD")
  WITH MAX_USER_CONNECTIONS 20;
GRANT SELECT ON \`$MYSQL_DATABASE\`.* TO 'grafana'@'%';
SQL
}

clipwatch_users
